// Names that servers give for files: untrusted.
#pragma once

#include <string>
#include <string_view>

namespace millrace {

// The folder inside an output folder where unfinished files, their notes and the lock live.
inline constexpr const char* kStateFolder = ".millrace-download";

// Why a relative path may not be written, or "" when it may: it must be UTF-8 without control characters, of plain
// components ("a/b.tar", no "..", no empty ones, no backslash), and not lead into kStateFolder.
std::string path_problem(std::string_view path);

}  // namespace millrace
