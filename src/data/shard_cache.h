// Opened shards, kept while they are likely to be needed again. Thread-safe.
#pragma once

#include <cstdint>
#include <future>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "data/sample_shard.h"
#include "data/shard_list.h"

namespace millrace {

class ShardCache {
 public:
  // Keeps at least one; beyond max_shards (open files) or max_samples (memory, about 150 bytes each) it closes the
  // least recently used one.
  explicit ShardCache(std::vector<ShardFile> shards, size_t max_shards = 128, int64_t max_samples = 2'000'000);

  const std::vector<ShardFile>& shards() const { return shards_; }
  // Rethrows errors from reading the headers. Concurrent callers wait for the first.
  std::shared_ptr<const SampleShard> get(size_t shard);
  // Remembered even after the shard has been closed.
  int64_t sample_count(size_t shard);

 private:
  using Shard = std::shared_ptr<const SampleShard>;
  struct Entry {
    std::shared_future<Shard> opened;
    std::list<size_t>::iterator used;
  };
  void evict_locked(size_t keep);

  const std::vector<ShardFile> shards_;
  const size_t max_shards_;
  const int64_t max_samples_;
  std::mutex mutex_;
  std::map<size_t, Entry> entries_;
  std::list<size_t> by_use_;     // most recent first
  std::vector<int64_t> counts_;  // -1: not known yet
};

}  // namespace millrace
