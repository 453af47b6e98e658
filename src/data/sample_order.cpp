#include "data/sample_order.h"

#include <numeric>
#include <utility>

#include "base/error.h"
#include "base/philox.h"

namespace millrace {
namespace {

// Ids of the two random streams for shuffling.
constexpr uint64_t kShardStream = 0;
constexpr uint64_t kBufferStream = 1;

}  // namespace

SampleOrder::SampleOrder(size_t num_shards, SampleCount sample_count, uint64_t seed, bool shuffle, size_t buffer_size)
    : num_shards_(num_shards),
      sample_count_(std::move(sample_count)),
      seed_(seed),
      shuffle_(shuffle),
      buffer_size_(shuffle ? buffer_size : 1) {
  MILLRACE_CHECK(num_shards > 0 && buffer_size_ > 0);
  shuffle_shards();
}

void SampleOrder::shuffle_shards() {
  shard_order_.resize(num_shards_);
  std::iota(shard_order_.begin(), shard_order_.end(), 0u);
  if (!shuffle_) return;
  const RandomStream stream = random_stream(seed_, RandomPurpose::kShuffle, state_.epoch, kShardStream);
  for (size_t i = num_shards_; i > 1; --i) {  // Fisher and Yates
    std::swap(shard_order_[i - 1], shard_order_[random_below(stream, i, i)]);
  }
}

void SampleOrder::fill_buffer() {
  while (state_.buffer.size() < buffer_size_) {
    const int64_t count = state_.shards_entered == 0 ? 0 : sample_count_(shard_order_[state_.shards_entered - 1]);
    if (static_cast<int64_t>(state_.next_sample) < count) {
      state_.buffer.push_back({shard_order_[state_.shards_entered - 1], static_cast<uint32_t>(state_.next_sample)});
      ++state_.next_sample;
    } else if (state_.shards_entered < num_shards_) {
      ++state_.shards_entered;
      state_.next_sample = 0;
    } else {
      return;
    }
  }
}

std::optional<SampleRef> SampleOrder::next() {
  fill_buffer();
  if (state_.buffer.empty()) {
    state_ = OrderState{.epoch = state_.epoch + 1};
    shuffle_shards();
    return std::nullopt;
  }
  const RandomStream stream = random_stream(seed_, RandomPurpose::kShuffle, state_.epoch, kBufferStream);
  const size_t drawn = shuffle_ ? random_below(stream, state_.draws, state_.buffer.size()) : 0;
  ++state_.draws;
  std::swap(state_.buffer[drawn], state_.buffer.back());
  const SampleRef ref = state_.buffer.back();
  state_.buffer.pop_back();
  return ref;
}

std::optional<size_t> SampleOrder::upcoming_shard() const {
  if (state_.shards_entered >= num_shards_) return std::nullopt;
  return shard_order_[state_.shards_entered];
}

void SampleOrder::restore(OrderState state) {
  state_ = std::move(state);
  shuffle_shards();
}

}  // namespace millrace
