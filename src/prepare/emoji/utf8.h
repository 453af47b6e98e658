// UTF-8 to code points and back.
#pragma once

#include <string>
#include <string_view>

namespace millrace {

// Ill-formed bytes become U+FFFD.
std::u32string decode_utf8(std::string_view text);
std::string encode_utf8(char32_t code_point);

}  // namespace millrace
