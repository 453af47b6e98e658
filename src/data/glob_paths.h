// What a shell would make of a pattern.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/folder_walk.h"

namespace millrace {

// The paths that match (*, ?, [..], a leading ~; ** for any number of folders, none included), sorted; none is no
// error. Names that begin with a dot match only where the pattern says so, and ** enters no such folder. passed_over
// gains what could not be looked into.
std::vector<std::filesystem::path> glob_paths(const std::string& pattern, PassedOver& passed_over);

}  // namespace millrace
