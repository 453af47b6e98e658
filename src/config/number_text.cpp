#include "config/number_text.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace millrace {
namespace {

// TOML and C++ both allow separators between digits; std::from_chars accepts neither these nor a leading plus.
std::optional<std::string> plain_digits(std::string_view text) {
  std::string plain;
  if (text.starts_with('+')) text.remove_prefix(1);
  if (text.starts_with('+') || text.starts_with('_') || text.ends_with('_')) return std::nullopt;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      plain += text[i];
    } else if (text[i - 1] < '0' || text[i - 1] > '9' || text[i + 1] < '0' || text[i + 1] > '9') {
      return std::nullopt;
    }
  }
  return plain;
}

template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  const std::optional<std::string> plain = plain_digits(text);
  if (!plain || plain->empty()) return std::nullopt;
  Number number{};
  const char* end = plain->data() + plain->size();
  const auto [rest, error] = std::from_chars(plain->data(), end, number);
  if (error != std::errc() || rest != end) return std::nullopt;
  return number;
}

}  // namespace

std::string number_text(double value) {
  std::array<char, 64> buffer{};
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  std::string text(buffer.data(), error == std::errc() ? end : buffer.data());
  const bool is_plain_integer = text.find_first_not_of("-0123456789") == std::string::npos;
  return is_plain_integer ? text + ".0" : text;
}

std::optional<int64_t> parse_integer(std::string_view text) {
  return parse_number<int64_t>(text);
}

std::optional<double> parse_floating_point(std::string_view text) {
  return parse_number<double>(text);
}

}  // namespace millrace
