#include "language/jinja/fixed_date.h"

#include <ctime>

#include "language/jinja/builtins.h"

namespace millrace::jinja {

std::string fixed_date(const std::string& format) {
  std::tm day = {};
  day.tm_year = 2024 - 1900;
  day.tm_mon = 6;
  day.tm_mday = 26;
  day.tm_wday = 5;
  day.tm_yday = 207;
  char text[256];
  const size_t size = std::strftime(text, sizeof text, format.c_str(), &day);
  if (size == 0) throw EvaluationError{"a format of strftime that writes 1 to 255 bytes", "\"" + format + "\""};
  return {text, size};
}

}  // namespace millrace::jinja
