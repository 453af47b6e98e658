#include "data/dataset_files.h"

#include "base/error.h"
#include "base/text.h"
#include "data/dummy_shard.h"

namespace millrace {

std::vector<ShardFile> list_dataset(const DatasetKind& kind, const std::string& path, const std::string& key) {
  if (kind.is_synthetic) return dummy_shards();
  if (kind.is_picture_set) {
    throw ConfigError("[" + key +
                      "] expected tar shards, got a data set of pictures in folders, which only training takes");
  }
  if (ends_with(path, ".toml")) {
    throw ConfigError("[" + key + "] expected tar shards, got " + path + " (try training.dataset = \"pictures\")");
  }
  const std::string place = path.empty() ? kind.default_path : path;
  if (place.empty()) throw ConfigError("[" + key + "] expected files, a folder or a pattern, got nothing");
  return list_shards({place});
}

}  // namespace millrace
