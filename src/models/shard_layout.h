// Weights written into the same files as the ones that they came from.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "models/weights.h"

namespace millrace {

// Which file of a folder each tensor is in, by the names of the file, from a folder with an index or the index itself;
// empty for weights in one file.
using ShardLayout = std::map<std::string, std::string>;
ShardLayout shard_layout_of(const std::filesystem::path& weights);

// As save_weights() into a folder, but each tensor into the file that layout says, with an index of the base name.
// Every tensor must be in layout.
void save_weights_in_shards(const std::filesystem::path& folder, const TensorMap& tensors, const ShardLayout& layout,
                            const SaveWeightsOptions& options);

// Deletes weights of an earlier save under the same base name, but for the current files: a reader must not find two
// sets.
void remove_stale_weights(const std::filesystem::path& folder, const std::string& base_name,
                          const std::set<std::string>& current);

}  // namespace millrace
