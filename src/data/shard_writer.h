// Writes WebDataset shards: tar files in which the members KEY.EXT of one sample are adjacent.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "formats/tar.h"

namespace millrace {

class ShardWriter {
 public:
  // Shards are named PREFIX-000000.tar and so on; each gets its name only once it is complete. The same samples give
  // the same bytes.
  ShardWriter(std::filesystem::path folder, std::string prefix, int64_t samples_per_shard);

  // members: extension and content.
  void add(const std::string& key, const std::vector<std::pair<std::string, std::string>>& members);
  // Completes the last shard. Without it the last shard is lost.
  void close();

  // The shard of the sample added last.
  std::string shard_name() const;
  int64_t shards() const { return shards_; }

 private:
  std::filesystem::path folder_;
  std::string prefix_;
  int64_t samples_per_shard_;
  int64_t samples_in_shard_ = 0;
  int64_t shards_ = 0;  // begun
  std::unique_ptr<TarWriter> tar_;
};

}  // namespace millrace
