// Which tar files load_dataset("webdataset", data_dir=...) takes as the train split, and in which order.
#pragma once

#include <string>
#include <vector>

#include "data/shard_list.h"

namespace millrace {

// shards: what list_shards() makes of path. Of a folder's, by their whole path: of folders or, failing that, of files
// that are named after splits ("train", "validation", "cc12m-train-0000.tar") those of the train split. Of anything
// else all.
std::vector<ShardFile> choose_train_files(const std::string& path, std::vector<ShardFile> shards);

}  // namespace millrace
