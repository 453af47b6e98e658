// Which tar files load_dataset("webdataset", data_dir=...) takes as the train split, and in which order.
#pragma once

#include <string>
#include <vector>

#include "data/shard_list.h"

namespace millrace {

// A folder's *.tar files, by their whole path: of folders or, failing that, of files that are named after splits
// ("train", "validation", "cc12m-train-0000.tar") those of the train split. Anything else is taken as list_shards()
// takes it.
std::vector<ShardFile> webdataset_train_files(const std::string& path);

}  // namespace millrace
