// The encoding of JSON bytes, detected like Python's json.detect_encoding (internal to formats/).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace millrace {

// UTF-8 without a byte order mark: a view of bytes, or of scratch if they were converted. Halves of surrogate pairs
// become three bytes each. nullopt: the bytes are not valid in the encoding that they begin with.
std::optional<std::string_view> json_as_utf8(std::string_view bytes, std::string& scratch);

void append_utf8(std::string& out, char32_t character);  // below 0x110000

}  // namespace millrace
