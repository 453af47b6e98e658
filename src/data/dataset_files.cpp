#include "data/dataset_files.h"

#include "base/error.h"
#include "data/dummy_shard.h"

namespace millrace {

std::vector<ShardFile> list_dataset(const DatasetKind& kind, const std::string& path, const std::string& key) {
  if (kind.is_synthetic) return dummy_shards();
  const std::string place = path.empty() ? kind.default_path : path;
  if (place.empty()) throw ConfigError("[" + key + "] expected files, a folder or a pattern, got nothing");
  return list_shards({place});
}

}  // namespace millrace
