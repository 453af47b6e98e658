// Reads the JSON of foreign samples like Python's json.loads on bytes: everything that webdataset and `datasets`
// load, we load.
//
// Beyond RFC 8259: NaN, Infinity and -Infinity; numbers that overflow are infinite; of a repeated key the last value
// counts, at the place of the first; whole numbers of any size, up to Python's 4300 digits; half of a surrogate pair,
// from an escape or in the bytes; UTF-8 with or without a byte order mark, UTF-16 and UTF-32, told apart as Python
// does. Control characters in strings, empty text and anything after the value are refused, as in Python.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include <nlohmann/json.hpp>

namespace millrace {

struct PythonJsonLimits {
  size_t max_bytes = size_t{64} << 20;
  size_t max_depth = 1000;        // Python's own limit is a little below
  size_t max_values = 4'000'000;  // values kept: below 1 GB as a document
};

// A string may hold half a surrogate pair, in the three bytes that UTF-8 would give it: is_valid_utf8() tells. A whole
// number beyond 64 bits, which the document cannot hold, becomes `binary`, with its digits as the bytes. Throws
// DataError naming place for a syntax error or an exceeded limit.
nlohmann::ordered_json parse_python_json(std::string_view bytes, std::string_view place,
                                         const PythonJsonLimits& limits = {});

// One value of the outermost object; nullopt if it is absent or the document is not an object. Nothing else is kept in
// memory, but the whole text is checked.
std::optional<nlohmann::ordered_json> python_json_member(std::string_view bytes, std::string_view key,
                                                         std::string_view place, const PythonJsonLimits& limits = {});

}  // namespace millrace
