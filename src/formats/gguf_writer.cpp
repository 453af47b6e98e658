#include "formats/gguf_writer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/block_format.h"
#include "base/error.h"
#include "base/log.h"
#include "formats/atomic_file.h"

namespace millrace {
namespace {

constexpr uint32_t kVersion = 3;
constexpr uint64_t kAlignment = 32;
constexpr int64_t kBlock = 32;
constexpr size_t kQ8Bytes = 2 + kBlock;

template <typename T>
void append(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void append_text(std::string& to, std::string_view text) {
  append(to, uint64_t{text.size()});
  to += text;
}

uint64_t aligned(uint64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

uint32_t type_number(GgufStorage storage) {
  constexpr uint32_t kF32 = 0, kF16 = 1;
  if (storage == GgufStorage::kQ8_0) return block_format_info(BlockFormat::kQ8_0).gguf_type;
  return storage == GgufStorage::kF16 ? kF16 : kF32;
}

uint64_t stored_bytes(const GgufTensor& tensor) {
  const auto count = static_cast<uint64_t>(element_count(tensor.shape));
  switch (tensor.storage) {
    case GgufStorage::kF32:
      return count * sizeof(float);
    case GgufStorage::kF16:
      return count * sizeof(uint16_t);
    case GgufStorage::kQ8_0:
      MILLRACE_CHECK(!tensor.shape.empty() && tensor.shape.back() % kBlock == 0);
      return count / kBlock * kQ8Bytes;
  }
  throw LogicError("[GGUF] expected a known storage, got another");
}

// A block's scale is its largest magnitude over 127, in half precision; its numbers are divided by the scale before
// that is rounded.
void append_q8_block(std::string& to, const float* values) {
  float largest = 0;
  for (int64_t i = 0; i < kBlock; ++i) largest = std::max(largest, std::abs(values[i]));
  const float scale = largest / 127, inverse = scale == 0 ? 0 : 1 / scale;
  append(to, to_half(scale));
  for (int64_t i = 0; i < kBlock; ++i) {
    append(to, static_cast<int8_t>(std::clamp(std::round(values[i] * inverse), -127.0f, 127.0f)));
  }
}

std::string encoded(std::span<const float> values, GgufStorage storage) {
  std::string bytes;
  if (storage == GgufStorage::kF32) {
    bytes.assign(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  } else if (storage == GgufStorage::kF16) {
    bytes.reserve(values.size() * sizeof(uint16_t));
    for (const float value : values) append(bytes, to_half(value));
  } else {
    bytes.reserve(values.size() / kBlock * kQ8Bytes);
    for (size_t at = 0; at < values.size(); at += kBlock) append_q8_block(bytes, values.data() + at);
  }
  return bytes;
}

}  // namespace

uint16_t to_half(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return sign | 0x7E00;   // NaN
  if (magnitude >= 0x477FF000) return sign | 0x7C00;  // 65520 and more round to infinity
  if (magnitude < 0x38800000) {                       // below 2^-14: a multiple of 2^-24
    const float steps = std::bit_cast<float>(magnitude) * 0x1p24f;
    return sign | static_cast<uint16_t>(std::nearbyint(steps));
  }
  const uint32_t rebiased = magnitude - (112u << 23), odd = rebiased >> 13 & 1;
  return sign | static_cast<uint16_t>((rebiased + 0xFFF + odd) >> 13);
}

void GgufKeys::begin(std::string_view key, GgufType type) {
  append_text(bytes_, key);
  append(bytes_, static_cast<uint32_t>(type));
  ++count_;
}

void GgufKeys::add(std::string_view key, std::string_view text) {
  begin(key, GgufType::kString);
  append_text(bytes_, text);
}

void GgufKeys::add(std::string_view key, uint32_t number) {
  begin(key, GgufType::kUint32);
  append(bytes_, number);
}

void GgufKeys::add(std::string_view key, float number) {
  begin(key, GgufType::kFloat32);
  append(bytes_, number);
}

void GgufKeys::add(std::string_view key, bool flag) {
  begin(key, GgufType::kBool);
  append(bytes_, static_cast<uint8_t>(flag));
}

void GgufKeys::add(std::string_view key, const std::vector<std::string>& texts) {
  begin(key, GgufType::kArray);
  append(bytes_, static_cast<uint32_t>(GgufType::kString));
  append(bytes_, uint64_t{texts.size()});
  for (const std::string& text : texts) append_text(bytes_, text);
}

void GgufKeys::add(std::string_view key, const std::vector<int32_t>& numbers) {
  begin(key, GgufType::kArray);
  append(bytes_, static_cast<uint32_t>(GgufType::kInt32));
  append(bytes_, uint64_t{numbers.size()});
  for (const int32_t number : numbers) append(bytes_, number);
}

void GgufKeys::add(std::string_view key, const std::vector<float>& numbers) {
  begin(key, GgufType::kArray);
  append(bytes_, static_cast<uint32_t>(GgufType::kFloat32));
  append(bytes_, uint64_t{numbers.size()});
  for (const float number : numbers) append(bytes_, number);
}

void write_gguf(const std::filesystem::path& path, const GgufKeys& keys, std::span<const GgufTensor> tensors,
                const GgufValues& values) {
  std::string header(kGgufMagic);
  append(header, kVersion);
  append(header, uint64_t{tensors.size()});
  append(header, keys.count());
  header += keys.bytes();
  uint64_t offset = 0;
  for (const GgufTensor& tensor : tensors) {
    append_text(header, tensor.name);
    append(header, static_cast<uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size) {
      append(header, static_cast<uint64_t>(*size));
    }
    append(header, type_number(tensor.storage));
    append(header, offset);
    offset += aligned(stored_bytes(tensor));
  }
  header.resize(aligned(header.size()), '\0');

  AtomicFile file(path);
  file.writer().write(header);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::span<const float> numbers = values(i);
    MILLRACE_CHECK(static_cast<int64_t>(numbers.size()) == element_count(tensors[i].shape));
    std::string bytes = encoded(numbers, tensors[i].storage);
    bytes.resize(aligned(bytes.size()), '\0');
    file.writer().write(bytes);
  }
  file.commit();
}

}  // namespace millrace
