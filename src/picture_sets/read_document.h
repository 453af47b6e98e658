// A data set file or a prompt file as a tree of values with their lines.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "config/placed_value.h"

namespace millrace {

// TOML or JSON, told apart by the name. Throws ConfigError naming path and, for a broken file, the line: a missing
// file, one of another ending, more than 16 MiB, more than 64 levels, a key twice in a table.
PlacedValue read_document(const std::filesystem::path& path);

// The values without their places.
nlohmann::ordered_json to_json(const PlacedValue& value);

PlacedValue parse_json_tree(std::string_view content, const std::string& file_name);

}  // namespace millrace
