#include "formats/protobuf.h"

namespace millrace {

std::optional<uint64_t> ProtoReader::varint() {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(rest_.front());
    rest_.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

std::optional<std::string_view> ProtoReader::take(uint64_t size) {
  if (size > rest_.size()) return std::nullopt;
  const std::string_view taken = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return taken;
}

std::optional<ProtoField> ProtoReader::next() {
  if (rest_.empty() || damaged_) return std::nullopt;
  damaged_ = true;  // until the field is whole
  const auto key = varint();
  if (!key) return std::nullopt;
  ProtoField field{.number = static_cast<uint32_t>(*key >> 3), .type = static_cast<WireType>(*key & 7)};
  switch (field.type) {
    case WireType::kVarint: {
      const auto value = varint();
      if (!value) return std::nullopt;
      field.bits = *value;
      break;
    }
    case WireType::kBytes: {
      const auto size = varint();
      const auto bytes = size ? take(*size) : std::nullopt;
      if (!bytes) return std::nullopt;
      field.bytes = *bytes;
      break;
    }
    case WireType::kFixed32:
    case WireType::kFixed64: {
      const auto bytes = take(field.type == WireType::kFixed32 ? 4 : 8);
      if (!bytes) return std::nullopt;
      std::memcpy(&field.bits, bytes->data(), bytes->size());
      break;
    }
    default:
      return std::nullopt;
  }
  damaged_ = false;
  return field;
}

}  // namespace millrace
