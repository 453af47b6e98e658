// Which files of a folder hold the weights.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace millrace {

// Either an index or files.
struct WeightFolder {
  std::filesystem::path index;
  std::vector<std::filesystem::path> files;  // sorted
};

// Throws ModelError when there are no weights, when they are ambiguous, or when one of the shards named
// "-00001-of-00004" is missing.
WeightFolder search_weight_folder(const std::filesystem::path& folder);

// Tensor name to file name, from the weight_map of an index json. File names are plain names in the index's own folder:
// a path is refused. Throws ModelError.
std::map<std::string, std::string> read_weight_map(const std::filesystem::path& index);
std::map<std::string, std::string> parse_weight_map(std::string_view json, std::string_view place);

}  // namespace millrace
