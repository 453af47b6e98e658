// JSON as Python's json.dumps() writes it, to the byte: for files that other programs compare or checksum as text.
// nlohmann's dump() differs in numbers: its digits are not always the fewest, and it changes to an exponent at 1e15.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace millrace {

struct PythonJsonStyle {
  bool compact = false;      // separators=(",", ":") instead of ", " and ": "
  bool ensure_ascii = true;  // \uXXXX instead of UTF-8; bytes that are not UTF-8 become U+FFFD
};

// Json is nlohmann::json (whose keys are sorted, as with sort_keys=True) or nlohmann::ordered_json. Numbers that are
// not finite become null, although Python would write invalid JSON for them. Without ensure_ascii, throws
// Json::type_error for text that is not UTF-8.
template <typename Json>
std::string python_json(const Json& value, PythonJsonStyle style = {});

}  // namespace millrace
