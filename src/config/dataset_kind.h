// The names that a configuration gives to kinds of data sets: torchtitan's and MLPerf's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/shard_list.h"

namespace millrace {

struct DatasetKind {
  const char* name;
  bool encoded;            // samples were encoded beforehand
  bool needs_timesteps;    // every sample carries its validation timestep
  int64_t subset_size;     // only so many of its samples; 0: all
  const char* usual_path;  // where the reference expects it; empty: nowhere
};

// Throws ConfigError for a name that is none.
const DatasetKind& find_dataset_kind(const std::string& name);
// The files of a data set: of path, or of the usual place where path is empty. key: of the path's option, for messages.
// Throws ConfigError where there is neither, DataError where nothing is there.
std::vector<ShardFile> list_dataset(const DatasetKind& kind, const std::string& path, const std::string& key);

}  // namespace millrace
