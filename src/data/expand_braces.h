// Brace ranges and lists, in shell syntax.
#pragma once

#include <string>
#include <vector>

namespace millrace {

// "a-{00..02}-{x,y}" -> six texts. Ranges keep leading zeros. Throws DataError for an invalid range or for more
// than a million results.
std::vector<std::string> expand_braces(const std::string& pattern);

}  // namespace millrace
