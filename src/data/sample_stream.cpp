#include "data/sample_stream.h"

#include <chrono>
#include <utility>

#include "base/error.h"

namespace millrace {

SampleStream::SampleStream(SampleOrder order, ShardCache& cache, ThreadPool& pool, const SampleDecoder& decoder,
                           int64_t epochs, size_t ahead)
    : order_(std::move(order)), cache_(cache), pool_(pool), decoder_(decoder), epochs_(epochs), ahead_(ahead) {}

StreamItem SampleStream::advance() {
  if (epochs_ > 0 && order_.epoch() >= static_cast<uint64_t>(epochs_)) return {StreamItem::Kind::kEnd};
  StreamItem item{StreamItem::Kind::kSample};
  try {
    item.epoch = order_.epoch();
    const std::optional<SampleRef> ref = order_.next();
    if (!ref) {
      item.kind = StreamItem::Kind::kEpochEnd;
      return item;
    }
    item.shard = cache_.get(ref->shard);
    item.sample = ref->sample;
    if (item.sample >= item.shard->size()) {
      throw DataError("[" + item.shard->path().string() + "] expected more than " + std::to_string(ref->sample) +
                      " samples as when the position was saved, got " + std::to_string(item.shard->size()));
    }
  } catch (...) {
    // Kept until its turn: earlier batches are still valid.
    item.kind = StreamItem::Kind::kFailure;
    item.failure = std::current_exception();
    return item;
  }
  read_ahead();
  item.check = pool_.submit([this, shard = item.shard, sample = item.sample] {
    return cancelled_ ? CheckedSample{} : decoder_.check(*shard, sample);
  });
  return item;
}

void SampleStream::read_ahead() {
  const std::optional<size_t> upcoming = order_.upcoming_shard();
  if (!upcoming || upcoming == being_read_ahead_) return;
  being_read_ahead_ = upcoming;
  pool_.submit([this, shard = *upcoming] {
    if (!cancelled_) cache_.get(shard);  // errors are thrown again when the shard's turn comes
  });
}

void SampleStream::fill() {
  while (items_.size() < ahead_) {
    if (!items_.empty()) {
      const StreamItem::Kind last = items_.back().kind;
      if (last == StreamItem::Kind::kEnd || last == StreamItem::Kind::kFailure) return;
    }
    items_.push_back(advance());
  }
}

bool SampleStream::ready() {
  fill();
  const StreamItem& item = items_.front();
  return !item.check.valid() || item.check.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

StreamItem SampleStream::pop() {
  fill();
  StreamItem& front = items_.front();
  if (front.kind == StreamItem::Kind::kEnd) return {StreamItem::Kind::kEnd};
  if (front.kind == StreamItem::Kind::kFailure) return {.kind = front.kind, .failure = front.failure};
  StreamItem item = std::move(front);
  items_.pop_front();
  return item;
}

void SampleStream::restore(OrderState state) {
  cancelled_ = true;
  for (StreamItem& item : items_) {
    if (item.check.valid()) item.check.wait();
  }
  items_.clear();
  cancelled_ = false;
  being_read_ahead_.reset();
  order_.restore(std::move(state));
}

}  // namespace millrace
