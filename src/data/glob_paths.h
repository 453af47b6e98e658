// Expands a pattern as a shell would.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/folder_walk.h"

namespace millrace {

// The paths that match (*, ?, [..], a leading ~; ** for any number of folders, none included), sorted; may be
// empty. Names that begin with a dot match only an explicit dot in the pattern, and ** enters no such folder. Adds
// entries that cannot be read to passed_over.
std::vector<std::filesystem::path> glob_paths(const std::string& pattern, PassedOver& passed_over);

}  // namespace millrace
