#include "compat/yaml_numbers.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "base/text.h"
#include "config/number_text.h"

namespace millrace {
namespace {

std::string without_underscores(std::string_view word) {
  std::string text(word);
  text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
  return text;
}

bool all_of(std::string_view word, std::string_view digits) {
  return !word.empty() && word.find_first_not_of(digits) == std::string_view::npos;
}

bool is_digits(std::string_view word) {
  return all_of(word, "0123456789_") && word[0] != '_';
}

// Cuts a sign off; -1 or 1.
int take_sign(std::string_view& word) {
  const bool negative = starts_with(word, "-");
  if (negative || starts_with(word, "+")) word.remove_prefix(1);
  return negative ? -1 : 1;
}

std::optional<int64_t> digits_to_base(std::string_view digits, int base, int sign) {
  int64_t value = 0;
  for (const char c : digits) {
    if (c == '_') continue;
    const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
    if (__builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, sign * digit, &value)) {
      return std::nullopt;
    }
  }
  return value;
}

// 1:30 is 90; nullopt when it is no such number. last_may_be_broken: 1:30.5.
std::optional<double> sexagesimal(std::string_view word, bool last_may_be_broken) {
  const std::vector<std::string> parts = split(word, ':');
  if (parts.size() < 2 || !is_digits(parts[0])) return std::nullopt;
  double value = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const bool is_broken = last_may_be_broken && i + 1 == parts.size();
    const std::string whole = is_broken ? parts[i].substr(0, parts[i].find('.')) : parts[i];
    if (!is_digits(whole) || (i > 0 && whole.size() > 2)) return std::nullopt;
    const std::optional<double> part = parse_floating_point(without_underscores(parts[i]));
    if (!part || (i > 0 && *part >= 60)) return std::nullopt;
    value = value * 60 + *part;
  }
  return value;
}

// digits with at most one dot, and an exponent; one of both must be there.
bool is_decimal(std::string_view word) {
  const size_t e = word.find_first_of("eE");
  std::string_view mantissa = word.substr(0, e);
  if (e != std::string_view::npos) {
    std::string_view exponent = word.substr(e + 1);
    take_sign(exponent);
    if (!all_of(exponent, "0123456789")) return false;
  }
  const size_t dot = mantissa.find('.');
  if (dot == std::string_view::npos) return e != std::string_view::npos && is_digits(mantissa);
  const std::string_view before = mantissa.substr(0, dot), after = mantissa.substr(dot + 1);
  if (before.empty()) return all_of(after, "0123456789_");
  return is_digits(before) && (after.empty() || all_of(after, "0123456789_"));
}

}  // namespace

std::optional<int64_t> yaml_integer(std::string_view word) {
  const int sign = take_sign(word);
  if (word == "0") return 0;
  if (starts_with(word, "0b") && all_of(word.substr(2), "01_")) return digits_to_base(word.substr(2), 2, sign);
  if (starts_with(word, "0x") && all_of(word.substr(2), "0123456789abcdefABCDEF_")) {
    return digits_to_base(word.substr(2), 16, sign);
  }
  if (starts_with(word, "0")) return all_of(word, "01234567_") ? digits_to_base(word, 8, sign) : std::nullopt;
  if (is_digits(word)) return digits_to_base(word, 10, sign);
  const std::optional<double> value = sexagesimal(word, false);
  return value && std::abs(*value) < 9e15 ? std::optional(sign * static_cast<int64_t>(*value)) : std::nullopt;
}

std::optional<double> yaml_float(std::string_view word) {
  if (word == ".nan" || word == ".NaN" || word == ".NAN") return std::numeric_limits<double>::quiet_NaN();
  const int sign = take_sign(word);
  if (word == ".inf" || word == ".Inf" || word == ".INF") return sign * std::numeric_limits<double>::infinity();
  if (is_decimal(word)) {
    const std::optional<double> value = parse_floating_point(without_underscores(word));
    return value ? std::optional(sign * *value) : std::nullopt;
  }
  const std::optional<double> value = word.find('.') == std::string_view::npos ? std::nullopt : sexagesimal(word, true);
  return value ? std::optional(sign * *value) : std::nullopt;
}

}  // namespace millrace
