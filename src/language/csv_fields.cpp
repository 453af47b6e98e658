#include "language/csv_fields.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {

size_t end_of_csv_record(std::string_view text, size_t at, int64_t& line, char separator) {
  bool quoted = false, at_start = true;  // of a field: only there does a quote open one
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '\n') ++line;
    if (quoted) {
      const bool is_doubled = c == '"' && at + 1 < text.size() && text[at + 1] == '"';
      if (is_doubled) ++at;
      if (c == '"' && !is_doubled) quoted = false;
    } else if (c == '\n') {
      return at + 1;
    } else {
      quoted = c == '"' && at_start;
      at_start = c == separator;
    }
  }
  return at;
}

std::vector<std::string> csv_fields(std::string_view record, const std::string& place, char separator) {
  while (!record.empty() && (record.back() == '\n' || record.back() == '\r')) record.remove_suffix(1);
  std::vector<std::string> fields(1);
  size_t at = 0;
  while (at < record.size()) {
    if (record[at] == separator) {
      fields.emplace_back();
      ++at;
    } else if (record[at] == '"') {
      for (++at;; ++at) {
        if (at == record.size())
          throw DataError(str("[", place, "] expected the end of a quoted field, got the end of the file"));
        if (record[at] == '"' && at + 1 < record.size() && record[at + 1] == '"') {
          ++at;
        } else if (record[at] == '"') {
          break;
        }
        fields.back() += record[at];
      }
      if (++at < record.size() && record[at] != separator) {
        const std::string expected =
            separator == ',' ? "a comma" : "\"" + json_escape(std::string(1, separator)) + "\"";
        throw DataError(str("[", place, "] expected ", expected, " behind a quoted field, got \"", record[at], "\""));
      }
    } else {
      for (; at < record.size() && record[at] != separator; ++at) fields.back() += record[at];
    }
  }
  return fields;
}

bool is_csv_null(std::string_view field) {
  constexpr std::array<std::string_view, 19> kNull = {
      // pandas' default na_values
      "",     "#N/A", "#N/A N/A", "#NA",  "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
      "<NA>", "N/A",  "NA",       "NULL", "NaN",     "None",     "n/a",  "nan",  "null"};
  return std::ranges::find(kNull, field) != kNull.end();
}

}  // namespace millrace
