// Comma-separated values as RFC 4180 has them: fields may be quoted, and quoted ones hold commas, line ends and doubled
// quotes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

// Behind the line end of the record that begins at `at`; counts the lines that it passes. separator: of fields.
size_t end_of_csv_record(std::string_view text, size_t at, int64_t& line, char separator = ',');
// Throws DataError naming place for a quote that does not end, or text behind one.
std::vector<std::string> csv_fields(std::string_view record, const std::string& place, char separator = ',');
// Fields that `datasets` takes for no value: empty ones, NA, null, None and the like, with quotes or without.
bool is_csv_null(std::string_view field);

}  // namespace millrace
