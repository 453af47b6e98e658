#include <charconv>
#include <cstring>

#include "base/error.h"
#include "base/log.h"
#include "formats/gguf.h"
#include "formats/quote.h"

namespace millrace {
namespace {

template <typename T>
T load(const GgufValue& value) {
  T number;
  std::memcpy(&number, value.bytes.data(), sizeof number);
  return number;
}

std::string_view string_at(std::span<const std::byte>& rest) {
  uint64_t length;
  std::memcpy(&length, rest.data(), sizeof length);
  const std::string_view text(reinterpret_cast<const char*>(rest.data()) + sizeof length, length);
  rest = rest.subspan(sizeof length + length);
  return text;
}

// Nothing for an unsigned number above 2^63 - 1 and for other types.
std::optional<int64_t> integer_of(const GgufValue& value) {
  switch (value.type) {
    case GgufType::kUint8:
      return load<uint8_t>(value);
    case GgufType::kInt8:
      return load<int8_t>(value);
    case GgufType::kUint16:
      return load<uint16_t>(value);
    case GgufType::kInt16:
      return load<int16_t>(value);
    case GgufType::kUint32:
      return load<uint32_t>(value);
    case GgufType::kInt32:
      return load<int32_t>(value);
    case GgufType::kInt64:
      return load<int64_t>(value);
    case GgufType::kUint64: {
      const auto number = load<uint64_t>(value);
      if (number > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
      return static_cast<int64_t>(number);
    }
    default:
      return std::nullopt;
  }
}

// The shortest decimal that is this fp32: 1e-05, not 9.99999974737875e-06.
std::string float_text(float value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  return {text, end};
}

std::string scalar_text(const GgufValue& value) {
  switch (value.type) {
    case GgufType::kString: {
      auto rest = value.bytes;
      return as_utf8(std::string(string_at(rest)));
    }
    case GgufType::kBool:
      return load<uint8_t>(value) != 0 ? "true" : "false";
    case GgufType::kFloat32:
      return float_text(load<float>(value));
    case GgufType::kFloat64:
      return str(load<double>(value));
    case GgufType::kUint64:
      return str(load<uint64_t>(value));
    default:
      return str(integer_of(value).value_or(0));
  }
}

}  // namespace

std::string_view gguf_type_name(GgufType type) {
  constexpr std::string_view kNames[] = {"uint8", "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
                                         "bool",  "string", "array",  "uint64", "int64",  "float64"};
  return kNames[static_cast<size_t>(type)];
}

void GgufMetadata::fail(std::string_view key, std::string_view expected, const GgufValue& got) const {
  throw ModelError(str("[", place_, ", key ", in_quotes(key), "] expected ", expected, ", got ",
                       got.is_array ? "an array of " : "", gguf_type_name(got.type),
                       got.is_array ? "" : " " + scalar_text(got)));
}

std::optional<int64_t> GgufMetadata::integer(std::string_view key) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return std::nullopt;
  const auto value = found->second.is_array ? std::nullopt : integer_of(found->second);
  if (!value) fail(key, "an integer", found->second);
  return value;
}

std::optional<double> GgufMetadata::number(std::string_view key) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return std::nullopt;
  const GgufValue& value = found->second;
  if (!value.is_array && value.type == GgufType::kFloat64) return load<double>(value);
  if (!value.is_array && value.type == GgufType::kFloat32) {
    const std::string text = float_text(load<float>(value));
    double number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number;
  }
  const auto integer = value.is_array ? std::nullopt : integer_of(value);
  if (!integer) fail(key, "a number", value);
  return static_cast<double>(*integer);
}

std::optional<std::string_view> GgufMetadata::string(std::string_view key) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return std::nullopt;
  if (found->second.is_array || found->second.type != GgufType::kString) fail(key, "a string", found->second);
  auto rest = found->second.bytes;
  return string_at(rest);
}

std::optional<std::vector<std::string_view>> GgufMetadata::strings(std::string_view key) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return std::nullopt;
  const GgufValue& value = found->second;
  if (!value.is_array || value.type != GgufType::kString) fail(key, "an array of strings", value);
  std::vector<std::string_view> strings;
  for (auto rest = value.bytes; !rest.empty();) strings.push_back(string_at(rest));
  return strings;
}

SafetensorsMetadata GgufMetadata::as_text() const {
  SafetensorsMetadata text;
  for (const auto& [key, value] : values_) {
    text[key] = value.is_array ? str("[", value.count, " ", gguf_type_name(value.type), "]") : scalar_text(value);
  }
  return text;
}

}  // namespace millrace
