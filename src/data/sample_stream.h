// The samples in order; the pool checks samples ahead while earlier ones are used.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <exception>
#include <future>
#include <memory>
#include <optional>

#include "base/thread_pool.h"
#include "data/sample_decoder.h"
#include "data/sample_order.h"
#include "data/shard_cache.h"

namespace millrace {

struct StreamItem {
  enum class Kind { kSample, kEpochEnd, kEnd, kFailure };
  Kind kind;
  uint32_t epoch = 0;
  std::shared_ptr<const SampleShard> shard;
  size_t sample = 0;
  std::future<CheckedSample> check;
  std::exception_ptr failure;
};

class SampleStream {
 public:
  // ahead: samples kept in flight. epochs: 0 for no limit. The pool, the cache and the decoder must outlive the
  // stream's tasks.
  SampleStream(SampleOrder order, ShardCache& cache, ThreadPool& pool, const SampleDecoder& decoder, int64_t epochs,
               size_t ahead);

  // The next item's check is done (or it needs none): the caller will not wait for it.
  bool ready();
  // After kEnd or kFailure: the same again. Waiting for the check is up to the caller.
  StreamItem pop();
  // Waits for the items in flight, discards them and continues from state.
  void restore(OrderState state);
  // From now on, tasks that have not started do nothing.
  void cancel() { cancelled_ = true; }

 private:
  void fill();
  StreamItem advance();
  void read_ahead();

  SampleOrder order_;
  ShardCache& cache_;
  ThreadPool& pool_;
  const SampleDecoder& decoder_;
  int64_t epochs_;
  size_t ahead_;
  std::optional<size_t> being_read_ahead_;
  std::deque<StreamItem> items_;
  std::atomic<bool> cancelled_{false};
};

}  // namespace millrace
