#include "data/shard_cache.h"

#include <algorithm>

#include "base/error.h"

namespace millrace {

ShardCache::ShardCache(std::vector<ShardFile> shards, size_t max_shards, int64_t max_samples)
    : shards_(std::move(shards)), max_shards_(max_shards), max_samples_(max_samples), counts_(shards_.size(), -1) {}

std::shared_ptr<const SampleShard> ShardCache::get(size_t shard) {
  MILLRACE_CHECK(shard < shards_.size());
  std::promise<Shard> promise;
  std::shared_future<Shard> future;
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(shard);
    if (found != entries_.end()) {
      by_use_.splice(by_use_.begin(), by_use_, found->second.used);
      future = found->second.opened;
    } else {
      by_use_.push_front(shard);
      entries_[shard] = {promise.get_future().share(), by_use_.begin()};
    }
  }
  if (future.valid()) return future.get();

  try {
    const Shard opened = open_shard(shards_[shard]);
    promise.set_value(opened);
    const std::lock_guard lock(mutex_);
    counts_[shard] = static_cast<int64_t>(opened->size());
    evict_locked(shard);
    return opened;
  } catch (...) {
    promise.set_exception(std::current_exception());
    throw;
  }
}

int64_t ShardCache::sample_count(size_t shard) {
  {
    const std::lock_guard lock(mutex_);
    if (counts_[shard] >= 0) return counts_[shard];
  }
  return static_cast<int64_t>(get(shard)->size());
}

void ShardCache::evict_locked(size_t keep) {
  int64_t samples = 0;
  for (const auto& [shard, entry] : entries_) samples += std::max<int64_t>(0, counts_[shard]);
  while (entries_.size() > 1 && (entries_.size() > max_shards_ || samples > max_samples_)) {
    const size_t oldest = by_use_.back();
    if (oldest == keep || counts_[oldest] < 0) return;  // a shard that is still being read is never the oldest for long
    samples -= counts_[oldest];
    by_use_.pop_back();
    entries_.erase(oldest);
  }
}

}  // namespace millrace
