// The JSON that other people's samples carry, read as Python's json.loads reads bytes: what webdataset and `datasets`
// load, we load.
//
// Beyond RFC 8259: NaN, Infinity and -Infinity; numbers that overflow are infinite; of a repeated key the last value
// counts, at the place of the first; whole numbers of any size, up to Python's 4300 digits; half of a surrogate pair,
// from an escape or in the bytes; UTF-8 with or without a byte order mark, UTF-16 and UTF-32, told apart as Python
// does. Control characters in strings, empty text and anything behind the value are refused, also as there.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include <nlohmann/json.hpp>

namespace millrace {

struct PythonJsonLimits {
  size_t max_bytes = size_t{64} << 20;
  size_t max_depth = 1000;        // Python's own limit is a little below
  size_t max_values = 4'000'000;  // that are kept: below 1 GB as a document
};

// A string may hold half a surrogate pair, in the three bytes that UTF-8 would give it: is_valid_utf8() tells. A whole
// number beyond 64 bits, which the document cannot hold, becomes `binary`, its digits as the bytes. Throws DataError
// naming place for a syntax error or a limit passed.
nlohmann::ordered_json parse_python_json(std::string_view bytes, std::string_view place,
                                         const PythonJsonLimits& limits = {});

// One value of the outermost object, nullopt where there is none or the document is no object. Nothing else is kept in
// memory, but the whole text is checked.
std::optional<nlohmann::ordered_json> python_json_member(std::string_view bytes, std::string_view key,
                                                         std::string_view place, const PythonJsonLimits& limits = {});

}  // namespace millrace
