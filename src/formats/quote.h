// Names from files in messages: in quotes, with control characters escaped, so that no file writes to a terminal.
#pragma once

#include <string>
#include <string_view>

#include "base/text.h"

namespace millrace {

// At most max_bytes of text; what is left out is shown as "...".
inline std::string in_quotes(std::string_view text, size_t max_bytes = 200) {
  return '"' + json_escape(text.substr(0, max_bytes)) + (text.size() > max_bytes ? "..." : "") + '"';
}

}  // namespace millrace
