// The tar files that load_dataset("webdataset", data_dir=...) uses as the train split, in its order.
#pragma once

#include <string>
#include <vector>

#include "data/shard_list.h"

namespace millrace {

// shards: list_shards(path). For a folder, in the order of whole paths: if folders or, failing that, files are named
// after splits ("train", "validation", "cc12m-train-0000.tar"), only those of the train split. For anything else,
// all.
std::vector<ShardFile> choose_train_files(const std::string& path, std::vector<ShardFile> shards);

}  // namespace millrace
