// The wire format of Protocol Buffers, as much of it as event files need (internal to formats/).
// https://protobuf.dev/programming-guides/encoding/
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace millrace {

enum class WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

class ProtoWriter {
 public:
  ProtoWriter& varint(uint32_t field, uint64_t value) { return key(field, WireType::kVarint).raw_varint(value); }
  ProtoWriter& fixed64(uint32_t field, double value) {
    return key(field, WireType::kFixed64).raw(&value, sizeof value);
  }
  ProtoWriter& fixed32(uint32_t field, float value) { return key(field, WireType::kFixed32).raw(&value, sizeof value); }
  // A string, or the encoding of a message.
  ProtoWriter& bytes(uint32_t field, std::string_view value) {
    return key(field, WireType::kBytes).raw_varint(value.size()).raw(value.data(), value.size());
  }
  const std::string& text() const { return text_; }

 private:
  ProtoWriter& key(uint32_t field, WireType type) { return raw_varint(field << 3 | static_cast<uint32_t>(type)); }
  ProtoWriter& raw_varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) text_ += static_cast<char>(value | 0x80);
    text_ += static_cast<char>(value);
    return *this;
  }
  ProtoWriter& raw(const void* data, size_t size) {
    text_.append(static_cast<const char*>(data), size);
    return *this;
  }

  std::string text_;
};

struct ProtoField {
  uint32_t number = 0;
  WireType type = WireType::kVarint;
  uint64_t bits = 0;       // of varints and fixed numbers
  std::string_view bytes;  // of kBytes

  double as_double() const {
    double value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
  float as_float() const {
    float value;
    const auto low = static_cast<uint32_t>(bits);
    std::memcpy(&value, &low, sizeof value);
    return value;
  }
};

// Reads one message field by field; damaged() distinguishes a bad end from a good one.
class ProtoReader {
 public:
  explicit ProtoReader(std::string_view message) : rest_(message) {}
  std::optional<ProtoField> next();
  bool damaged() const { return damaged_; }

 private:
  std::optional<uint64_t> varint();
  std::optional<std::string_view> take(uint64_t size);

  std::string_view rest_;
  bool damaged_ = false;
};

}  // namespace millrace
