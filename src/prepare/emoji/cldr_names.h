// The names of emoji in Unicode's Common Locale Data Repository (annotations/en.xml, the type="tts" entries).
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace millrace {

// Names of single code points. Throws DataError when the file is missing or holds no names.
std::map<char32_t, std::string> read_cldr_names(const std::filesystem::path& path);

}  // namespace millrace
