// The files of a data set, the same list on every rank. The first rank finds them, and each rank inspects the beginning
// of a share of them, so that files which are not shards are known before any work starts.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "comm/mesh.h"
#include "data/dataset_kind.h"
#include "data/shard_list.h"

namespace millrace {

// list_dataset() for all ranks: an error on the first is thrown on every rank. Notes the problems of files that are not
// shards or are damaged before their first sample.
std::vector<ShardFile> list_rank_files(const DatasetKind& kind, const std::string& path, const std::string& key,
                                       Group& ranks, torch::Device device);

struct LostFileLimit {
  double max_fraction = 0;  // of the files
  std::string advice;       // what to try, for the message
};

// Throws DataError when a larger fraction of the files has a problem, or all have one; else the first rank warns.
void check_lost_files(const std::vector<ShardFile>& files, const LostFileLimit& limit, const Group& ranks);

}  // namespace millrace
