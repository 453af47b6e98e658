// The files of a data set that a configuration names.
#pragma once

#include <string>
#include <vector>

#include "data/dataset_kind.h"
#include "data/shard_list.h"

namespace millrace {

// The files at path or, if path is empty, at the kind's default path. key: name of the path's option, for messages.
// Throws ConfigError if there is neither, or for pictures in folders, DataError if nothing is found.
std::vector<ShardFile> list_dataset(const DatasetKind& kind, const std::string& path, const std::string& key);

}  // namespace millrace
