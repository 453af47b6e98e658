// The order of samples: a function of (seed, epoch) and of how many samples each shard has.
//
// In each epoch the shards are shuffled and read one after the other; samples pass through a buffer from which they are
// drawn at random. The buffer holds references, not pictures, so that its state is small and can be saved, and
// resuming from it rereads no samples.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace millrace {

struct SampleRef {
  uint32_t shard;
  uint32_t sample;  // within the shard
  bool operator==(const SampleRef&) const = default;
};

struct OrderState {
  uint32_t epoch = 0;
  uint64_t shards_entered = 0;  // of this epoch; the last of them is being read
  uint64_t next_sample = 0;     // in the shard being read
  uint64_t draws = 0;           // from the buffer in this epoch
  std::vector<SampleRef> buffer;
  bool operator==(const OrderState&) const = default;
};

class SampleOrder {
 public:
  using SampleCount = std::function<int64_t(size_t shard)>;

  // Without shuffle the samples come in shard order. sample_count is called when a shard is entered.
  SampleOrder(size_t num_shards, SampleCount sample_count, uint64_t seed, bool shuffle, size_t buffer_size);

  // nullopt: the epoch is over; the next call starts the next one.
  std::optional<SampleRef> next();
  uint32_t epoch() const { return state_.epoch; }
  // The shard that will be entered next in this epoch, for reading ahead.
  std::optional<size_t> upcoming_shard() const;

  const OrderState& state() const { return state_; }
  void restore(OrderState state);

 private:
  void shuffle_shards();
  void fill_buffer();

  size_t num_shards_;
  SampleCount sample_count_;
  uint64_t seed_;
  bool shuffle_;
  size_t buffer_size_;
  std::vector<uint32_t> shard_order_;  // of state_.epoch
  OrderState state_;
};

}  // namespace millrace
