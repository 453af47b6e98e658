// The files of a data set, the same list on every rank: the first looks for them, and each looks at the beginning of a
// share of them, so that a file which is no shard is known before any work starts.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "comm/mesh.h"
#include "data/dataset_kind.h"
#include "data/shard_list.h"

namespace millrace {

// As list_dataset(), which throws on every rank what it throws on the first. Files that are not shards, or damaged
// before their first sample, have their problem noted.
std::vector<ShardFile> list_rank_files(const DatasetKind& kind, const std::string& path, const std::string& key,
                                       Group& ranks, torch::Device device);

struct LostFileLimit {
  double max_fraction = 0;  // of the files
  std::string advice;       // what to try, for the message
};

// Throws DataError when more files than that have a problem, or all of them. The first rank's warning names fewer.
void check_lost_files(const std::vector<ShardFile>& files, const LostFileLimit& limit, const Group& ranks);

}  // namespace millrace
