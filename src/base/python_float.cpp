#include "base/python_float.h"

#include <array>
#include <charconv>
#include <cmath>
#include <string_view>

#include "base/error.h"

namespace millrace {

std::string python_float(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";

  // "-d.ddde+XX": the shortest digits, and an exponent in Python's spelling.
  std::array<char, 32> buffer{};
  const auto [end, error] =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::scientific);
  MILLRACE_CHECK(error == std::errc());
  const std::string_view text(buffer.data(), static_cast<size_t>(end - buffer.data()));
  const size_t e = text.find('e');
  const std::string_view exponent_text = text.substr(text[e + 1] == '+' ? e + 2 : e + 1);
  int exponent = 0;
  std::from_chars(exponent_text.data(), exponent_text.data() + exponent_text.size(), exponent);
  if (exponent < -4 || exponent >= 16) return std::string(text);

  // Fixed notation: the same digits with the point moved.
  const std::string sign = std::signbit(value) ? "-" : "";
  std::string digits(1, text[sign.size()]);
  if (e > sign.size() + 1) digits += text.substr(sign.size() + 2, e - sign.size() - 2);
  if (exponent < 0) return sign + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  const size_t before_point = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= before_point) return sign + digits + std::string(before_point - digits.size(), '0') + ".0";
  return sign + digits.substr(0, before_point) + "." + digits.substr(before_point);
}

}  // namespace millrace
