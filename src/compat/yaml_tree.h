// YAML as OmegaConf reads it, as a tree of values with their lines; hides yaml-cpp.
//
// YAML 1.1's scalars (yes, on, 0x1f, 1_000, ~), with OmegaConf's one change: 2e-5 is a number although it has no dot.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "config/placed_value.h"

namespace millrace {

// Throws ConfigError naming file and line for: what is no YAML, more than one document, a key twice in a table, a tag
// such as !!python/object, more than 64 levels or 100,000 values (aliases count as often as they are used).
PlacedValue parse_yaml_tree(std::string_view content, const std::string& file_name);
// The same for a file of at most 1 MiB; ConfigError too when it cannot be read.
PlacedValue read_yaml_file(const std::filesystem::path& path);

// A word without quotes, as YAML reads it: null, true or false, a number, or a text.
PlacedValue yaml_scalar(const std::string& word);
// The same where there are no brackets or quotes, else YAML; without places. name: for the ConfigError of what is none.
PlacedValue yaml_value(const std::string& text, const std::string& name);

}  // namespace millrace
