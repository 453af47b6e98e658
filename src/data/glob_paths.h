// What a shell would make of a pattern.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace millrace {

// The paths that match (*, ?, [..], a leading ~), sorted; none is no error.
std::vector<std::filesystem::path> glob_paths(const std::string& pattern);

}  // namespace millrace
