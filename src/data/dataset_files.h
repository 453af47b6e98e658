// The files of a data set that a configuration names.
#pragma once

#include <string>
#include <vector>

#include "data/dataset_kind.h"
#include "data/shard_list.h"

namespace millrace {

// Of path, or of the kind's usual place where path is empty. key: of the path's option, for messages. Throws
// ConfigError where there is neither, DataError where nothing is there.
std::vector<ShardFile> list_dataset(const DatasetKind& kind, const std::string& path, const std::string& key);

}  // namespace millrace
