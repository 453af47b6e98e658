#include "formats/json_cast.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "base/text.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;
using Kind = JsonType::Kind;

constexpr double kTwoTo63 = 9223372036854775808.0;

// Whole numbers beyond 64 bits; see read_python_json.h.
std::string_view big_digits(const Json& value) {
  const auto& bytes = value.get_binary();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The whole text as one number, nullopt for anything else.
template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  text = trim(text);
  if (text.starts_with('+')) text.remove_prefix(1);
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<int64_t> truncated(double value) {
  return value >= -kTwoTo63 && value < kTwoTo63 ? std::optional(static_cast<int64_t>(value)) : std::nullopt;
}

// Python's repr: the shortest digits that give the number back, as a fraction from 1e-4 to below 1e16.
std::string python_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[64];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  const std::string scientific(buffer, end);
  const int exponent = std::atoi(scientific.c_str() + scientific.find('e') + 1);
  if (exponent < -4 || exponent >= 16) return scientific;
  const auto [fixed_end, fixed_error] = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
  const std::string fixed(buffer, fixed_end);
  return fixed.find('.') == std::string::npos ? fixed + ".0" : fixed;
}

void cast_to_integer(Json& value) {
  std::optional<int64_t> integer;
  if (value.is_boolean()) integer = value.get<bool>() ? 1 : 0;
  if (value.is_number_float()) integer = truncated(value.get<double>());
  if (value.is_string()) integer = parse_number<int64_t>(value.get_ref<const std::string&>());
  if (integer) value = *integer;
}

void cast_to_float(Json& value) {
  std::optional<double> number;
  if (value.is_boolean()) number = value.get<bool>() ? 1 : 0;
  if (value.is_binary()) number = parse_number<double>(big_digits(value));
  if (value.is_string()) number = parse_number<double>(value.get_ref<const std::string&>());
  if (number) value = *number;
}

void cast_to_bool(Json& value) {
  if (value.is_number()) value = value.get<double>() != 0;
  if (value.is_string()) value = !value.get_ref<const std::string&>().empty();
  if (value.is_binary()) value = true;
  if (value.is_structured()) value = !value.empty();
}

void cast_to_string(Json& value) {
  if (value.is_boolean()) {
    value = value.get<bool>() ? "True" : "False";
  } else if (value.is_binary()) {
    value = std::string(big_digits(value));
  } else if (value.is_number_integer()) {
    value = value.dump();
  } else if (value.is_number_float()) {
    value = python_repr(value.get<double>());
  }
}

// Items of a list go through Arrow's casts instead, which lose nothing.
void cast_item(Json& value, const JsonType& type) {
  if (type.kind == Kind::kInt64 && value.is_number_float()) {
    const double number = value.get<double>();
    if (number == std::trunc(number)) cast_to_integer(value);
  } else if (type.kind == Kind::kList || type.kind == Kind::kStruct) {
    cast_json(value, type);
  }
}

}  // namespace

void cast_json(Json& value, const JsonType& type) {
  if (value.is_null()) return;
  switch (type.kind) {
    case Kind::kNull:
      return;
    case Kind::kBool:
      return cast_to_bool(value);
    case Kind::kInt64:
      return cast_to_integer(value);
    case Kind::kFloat64:
      return cast_to_float(value);
    case Kind::kString:
      return cast_to_string(value);
    case Kind::kList:
      if (!value.is_array()) return;
      for (Json& item : value) cast_item(item, type.children[0]);
      return;
    case Kind::kStruct:
      for (size_t i = 0; i < type.names.size(); ++i) {
        const auto field = value.find(type.names[i]);
        if (field != value.end()) cast_json(*field, type.children[i]);
      }
      return;
  }
}

}  // namespace millrace
