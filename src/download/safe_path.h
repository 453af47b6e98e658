// File names from servers, which are untrusted.
#pragma once

#include <string>
#include <string_view>

namespace millrace {

// The folder inside an output folder that contains unfinished files, their notes and the lock.
inline constexpr const char* kStateFolder = ".millrace-download";

// Why a relative path may not be written, or "" when it may: it must be UTF-8 without control characters, of plain
// components ("a/b.tar", no "..", no empty ones, no backslash), outside kStateFolder.
std::string path_problem(std::string_view path);

}  // namespace millrace
