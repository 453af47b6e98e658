// Names from files in messages: quoted, with control characters escaped, so that no file controls a terminal.
#pragma once

#include <string>
#include <string_view>

#include "base/text.h"

namespace millrace {

// At most max_bytes of text; a cut is shown as "...".
inline std::string in_quotes(std::string_view text, size_t max_bytes = 200) {
  return '"' + json_escape(text.substr(0, max_bytes)) + (text.size() > max_bytes ? "..." : "") + '"';
}

// text for JSON, which must be UTF-8: as it is, or with every byte above 127 as \xNN.
inline std::string as_utf8(const std::string& text) {
  if (is_valid_utf8(text)) return text;
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string escaped;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      escaped += c;
    } else {
      escaped.append("\\x").append(1, kDigits[byte >> 4]).append(1, kDigits[byte & 15]);
    }
  }
  return escaped;
}

}  // namespace millrace
