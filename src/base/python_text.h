// What Python's str does with white space, for texts that another program has read with it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace millrace {

// str.strip() of UTF-8: every white space of Unicode, and the separators 0x1c to 0x1f.
std::string_view python_strip(std::string_view text);

// str.split(separator), separator not empty.
std::vector<std::string_view> python_split(std::string_view text, std::string_view separator);

// The lines of a text file as Python reads them: they end with LF, CRLF or CR, and only there; none for an empty text.
// The ends of lines are left out.
std::vector<std::string> python_lines(std::string_view content);

// str.replace(from, to), from not empty.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

}  // namespace millrace
