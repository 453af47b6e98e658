// The loader runs through the sample order twice: `stream_` ahead of the batches in preparation, `behind_` after the
// batches that were delivered.
//
//   1. plan         takes the next items from stream_, whose samples the pool checks ahead. Each item becomes an event
//                   of the open batch (usable, small, bad, end of an epoch); a usable sample also becomes its next row.
//                   The pool decodes the rows of this rank in the background, up to prefetch_batches ahead.
//   2. account      for the batch to deliver: counts its events in order, advances behind_ by one step for each, and
//                   waits for this rank's rows. The state of behind_ is the position that is saved: what was planned
//                   but not delivered is planned again after a restore.
//   3. substitute   fills a row that could not be decoded with the next decodable sample of the order.
//   4. finish       collects this rank's rows into the batch.
//
// Every rank plans and counts all rows but decodes only its own, so that all ranks agree on the order, on the position
// and on the end of an epoch without communication.
#include "data/sample_loader.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/thread_pool.h"
#include "data/batch_buffers.h"
#include "data/loader_position.h"
#include "data/planned_batch.h"
#include "data/sample_stream.h"
#include "data/shard_cache.h"

namespace millrace {
namespace {

int default_workers() {
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, 8);
}

std::vector<BatchBuffers> make_buffers(size_t fields, size_t max_kept, bool pinned) {
  std::vector<BatchBuffers> buffers;
  for (size_t i = 0; i < fields; ++i) buffers.emplace_back(max_kept, pinned);
  return buffers;
}

// The shards to read, and how many samples of the last one.
struct ShardRange {
  size_t num_shards;
  int64_t last_limit = std::numeric_limits<int64_t>::max();
};

// The shards that hold the first subset_size samples; 0: all.
ShardRange find_subset(ShardCache& cache, int64_t subset_size) {
  int64_t before = 0;
  for (size_t shard = 0; subset_size > 0 && shard < cache.shards().size(); ++shard) {
    const int64_t count = cache.sample_count(shard);
    if (before + count >= subset_size) return {shard + 1, subset_size - before};
    before += count;
  }
  return {cache.shards().size()};
}

void check(const SampleLoaderOptions& options) {
  const auto require = [](bool condition, const std::string& message) {
    if (!condition) throw ConfigError("[data loader] expected " + message);
  };
  require(options.batch_size >= 1, "a batch size of at least 1, got " + std::to_string(options.batch_size));
  require(options.shuffle_buffer_size >= 1,
          "a shuffle buffer of at least 1, got " + std::to_string(options.shuffle_buffer_size));
  require(options.subset_size >= 0, "a subset of at least 0 samples, got " + std::to_string(options.subset_size));
  require(options.epochs >= 0, "epochs of at least 0, got " + std::to_string(options.epochs));
  MILLRACE_CHECK(options.world_size >= 1 && options.rank >= 0 && options.rank < options.world_size);
  MILLRACE_CHECK(options.prefetch_batches >= 0);
}

}  // namespace

class SampleLoader::Impl {
 public:
  Impl(SampleLoaderOptions options, std::unique_ptr<const SampleDecoder> decoder);
  ~Impl() { cancel(); }

  SampleBatch next();
  std::string position() const {
    return write_position({behind_.state(), counter_.report(), counter_.usable_in_epoch()}, identity_);
  }
  void restore(const std::string& text);
  BadSampleReport bad_samples() const { return counter_.report(); }

 private:
  SampleOrder make_order();
  void cancel();
  void plan(size_t batches, bool wait);
  void plan_item(StreamItem item);
  PlannedBatch& open_batch();
  void add_row(PlannedBatch& batch, const StreamItem& item, CheckedSample checked);
  void account(PlannedBatch& batch);
  void wait_for_row(PlannedBatch& batch, size_t row);
  bool substitute(PlannedBatch& batch, size_t row);
  SampleBatch finish(PlannedBatch& batch);
  DecodeOutcome decode(const PlannedRow& row, const std::vector<void*>& out) const {
    return decoder_->decode(*row.shard, row.sample, row.epoch, out);
  }

  const SampleLoaderOptions options_;
  const std::unique_ptr<const SampleDecoder> decoder_;
  ShardCache cache_;
  const ShardRange range_;
  OrderIdentity identity_;
  SampleOrder behind_;  // the order up to the delivered batch: its state is the position
  BadSampleCounter counter_;
  std::vector<BatchBuffers> buffers_;  // one per field
  std::deque<std::unique_ptr<PlannedBatch>> planned_;
  bool finished_ = false;
  std::atomic<bool> cancelled_{false};
  std::unique_ptr<SampleStream> stream_;
  std::unique_ptr<ThreadPool> pool_;  // last: its tasks use all of the above
};

SampleLoader::Impl::Impl(SampleLoaderOptions options, std::unique_ptr<const SampleDecoder> decoder)
    : options_((check(options), std::move(options))),
      decoder_(std::move(decoder)),
      cache_(options_.shards),
      range_(find_subset(cache_, options_.subset_size)),
      identity_{fingerprint(cache_.shards()) ^ static_cast<uint64_t>(options_.subset_size), options_.shards.size(),
                options_.seed, options_.shuffle, options_.shuffle_buffer_size},
      behind_(make_order()),
      counter_(options_.bad_samples),
      buffers_(
          make_buffers(decoder_->fields().size(), static_cast<size_t>(options_.prefetch_batches) + 2, options_.pinned)),
      pool_(std::make_unique<ThreadPool>(options_.num_workers > 0 ? options_.num_workers : default_workers())) {
  // Enough samples in flight to keep the pool busy while one batch is used, without reading ahead two large batches.
  const size_t ahead = std::clamp<size_t>(static_cast<size_t>(options_.batch_size), 16, 256);
  stream_ = std::make_unique<SampleStream>(make_order(), cache_, *pool_, *decoder_, options_.epochs, ahead);
}

SampleOrder SampleLoader::Impl::make_order() {
  const auto sample_count = [this](size_t shard) {
    const int64_t count = cache_.sample_count(shard);
    return shard + 1 == range_.num_shards ? std::min(count, range_.last_limit) : count;
  };
  return SampleOrder(range_.num_shards, sample_count, options_.seed, options_.shuffle,
                     static_cast<size_t>(options_.shuffle_buffer_size));
}

void SampleLoader::Impl::cancel() {
  cancelled_ = true;
  stream_->cancel();
}

PlannedBatch& SampleLoader::Impl::open_batch() {
  if (!planned_.empty() && !planned_.back()->complete) return *planned_.back();
  auto batch = std::make_unique<PlannedBatch>();
  const int64_t ranks = options_.world_size, rank = options_.rank;
  batch->own_begin = static_cast<size_t>(rank * options_.batch_size / ranks);
  batch->own_end = static_cast<size_t>((rank + 1) * options_.batch_size / ranks);
  for (size_t i = 0; i < buffers_.size(); ++i) {
    const BatchField& field = decoder_->fields()[i];
    std::vector<int64_t> sizes = field.sizes;
    sizes.insert(sizes.begin(), static_cast<int64_t>(batch->own_end - batch->own_begin));
    batch->fields.push_back(buffers_[i].make(sizes, field.dtype));
  }
  batch->rows.reserve(static_cast<size_t>(options_.batch_size));  // tasks keep pointers to rows
  planned_.push_back(std::move(batch));
  return *planned_.back();
}

void SampleLoader::Impl::add_row(PlannedBatch& batch, const StreamItem& item, CheckedSample checked) {
  const size_t index = batch.rows.size();
  batch.rows.push_back({item.shard, item.sample, item.epoch, std::move(checked.caption), checked.timestep, {}});
  PlannedRow& row = batch.rows.back();
  if (batch.owns(index)) {
    row.decoded = pool_->submit(
        [this, row = &row, out = batch.places(index)] { return cancelled_ ? DecodeOutcome{} : decode(*row, out); });
  }
  batch.complete = batch.rows.size() == static_cast<size_t>(options_.batch_size);
}

void SampleLoader::Impl::plan_item(StreamItem item) {
  using Kind = PlannedEvent::Kind;
  PlannedBatch& batch = open_batch();
  switch (item.kind) {
    case StreamItem::Kind::kEpochEnd:
      batch.events.push_back({Kind::kEpochEnd, {}, {}});
      return;
    case StreamItem::Kind::kEnd:
      batch.complete = batch.last = true;
      return;
    case StreamItem::Kind::kFailure:
      batch.complete = true;
      batch.failure = item.failure;
      return;
    case StreamItem::Kind::kSample:
      break;
  }
  CheckedSample checked = item.check.get();
  switch (checked.verdict) {
    case CheckedSample::Verdict::kSmall:
      batch.events.push_back({Kind::kSmall, {}, {}});
      return;
    case CheckedSample::Verdict::kBad:
      if (!options_.allow_damaged_shards && item.shard->is_damage(item.sample)) {
        batch.complete = true;
        batch.failure = std::make_exception_ptr(DataError(checked.problem + " (try downloading it again)"));
        return;
      }
      batch.events.push_back({Kind::kBad, item.shard->describe(item.sample), std::move(checked.problem)});
      return;
    case CheckedSample::Verdict::kUsable:
      batch.events.push_back({Kind::kUsable, {}, {}});
      add_row(batch, item, std::move(checked));
      return;
  }
}

// Plans items until this many batches are complete or, without wait, until the next item's check is not done yet.
void SampleLoader::Impl::plan(size_t batches, bool wait) {
  constexpr size_t kMaxEvents = 1000;
  while (planned_.size() < batches || !planned_[batches - 1]->complete) {
    if (!planned_.empty() && (planned_.back()->last || planned_.back()->failure)) return;
    if (!wait && !stream_->ready()) return;
    plan_item(stream_->pop());
    PlannedBatch& batch = *planned_.back();
    const size_t uncounted = batch.events.size() - batch.counted;
    const bool epoch_over = !batch.events.empty() && batch.events.back().kind == PlannedEvent::Kind::kEpochEnd;
    if (planned_.size() == 1 && (epoch_over || uncounted > kMaxEvents)) {
      account(batch);  // a data set of only bad samples must fail here, as it never fills a batch
    } else if (!wait && uncounted > kMaxEvents + static_cast<size_t>(options_.batch_size)) {
      return;
    }
  }
}

// Counts the batch's events, each once, advances behind_ past them and waits for this rank's rows.
void SampleLoader::Impl::account(PlannedBatch& batch) {
  for (; batch.counted < batch.events.size(); ++batch.counted) {
    const PlannedEvent& event = batch.events[batch.counted];
    behind_.next();
    switch (event.kind) {
      case PlannedEvent::Kind::kSmall:
        counter_.add_small();
        break;
      case PlannedEvent::Kind::kBad:
        counter_.add_bad(event.name, event.problem);
        break;
      case PlannedEvent::Kind::kEpochEnd:
        counter_.end_epoch();
        break;
      case PlannedEvent::Kind::kUsable:
        counter_.add_usable();
        wait_for_row(batch, batch.counted_rows++);
        break;
    }
  }
}

void SampleLoader::Impl::wait_for_row(PlannedBatch& batch, size_t row) {
  if (!batch.owns(row)) return;
  const PlannedRow& planned = batch.rows[row];
  const DecodeOutcome outcome = batch.rows[row].decoded.get();
  if (outcome.truncated) counter_.add_truncated();
  if (outcome.problem.empty()) return;
  batch.failed.push_back(row);
  counter_.turn_bad(planned.shard->describe(planned.sample), outcome.problem);
}

// Damage behind a sound header is seen only by the rank that decodes the sample. So that all ranks keep the same order,
// rows do not move up: the next decodable sample of the order is used here in addition. False: there is none.
bool SampleLoader::Impl::substitute(PlannedBatch& batch, size_t row) {
  constexpr size_t kMaxTries = 64;
  const auto size = static_cast<size_t>(options_.batch_size);
  for (size_t next = row + 1; next <= row + kMaxTries; ++next) {
    plan(next / size + 1, true);
    if (planned_.size() <= next / size || planned_[next / size]->rows.size() <= next % size) return false;
    const PlannedRow& other = planned_[next / size]->rows[next % size];
    if (!decode(other, batch.places(row)).problem.empty()) continue;
    batch.rows[row] = {other.shard, other.sample, other.epoch, other.caption, other.timestep, {}};
    return true;
  }
  throw DataError("[" + batch.rows[row].shard->describe(batch.rows[row].sample) +
                  "] expected a sample that can be decoded among the next " + std::to_string(kMaxTries) +
                  " samples, got none");
}

SampleBatch SampleLoader::Impl::finish(PlannedBatch& batch) {
  std::vector<int64_t> kept;  // of this rank's rows
  SampleBatch result;
  for (size_t row = batch.own_begin; row < std::min(batch.own_end, batch.rows.size()); ++row) {
    const bool lost = std::find(batch.failed.begin(), batch.failed.end(), row) != batch.failed.end();
    // With a fixed number of epochs each sample counts once and a batch may be short: the row is left out.
    if (lost && (options_.epochs > 0 || !substitute(batch, row))) continue;
    PlannedRow& planned = batch.rows[row];
    kept.push_back(static_cast<int64_t>(row - batch.own_begin));
    result.captions.push_back(planned.caption);
    result.keys.push_back(planned.shard->key(planned.sample));
    result.sample_ids.push_back(planned.shard->sample_id(planned.sample));
    result.timesteps.push_back(planned.timestep);
    result.epochs.push_back(planned.epoch);
    result.rows.push_back(static_cast<int64_t>(row));
  }
  const auto rows = static_cast<int64_t>(kept.size());
  const bool gaps = rows > 0 && kept.back() != rows - 1;
  for (const torch::Tensor& field : batch.fields) {
    result.fields.push_back(gaps ? field.index_select(0, torch::tensor(kept)) : field.narrow(0, 0, rows));
  }
  result.global_rows = static_cast<int64_t>(batch.rows.size());
  return result;
}

SampleBatch SampleLoader::Impl::next() {
  const auto at_end = [&] {
    SampleBatch end;
    for (const BatchField& field : decoder_->fields()) {
      std::vector<int64_t> sizes = field.sizes;
      sizes.insert(sizes.begin(), 0);
      end.fields.push_back(torch::empty(sizes, field.dtype));
    }
    end.end_of_data = true;
    return end;
  };
  if (finished_) return at_end();
  plan(1, true);
  plan(1 + static_cast<size_t>(options_.prefetch_batches), false);
  PlannedBatch& batch = *planned_.front();
  account(batch);
  if (batch.failure) std::rethrow_exception(batch.failure);
  finished_ = batch.last;
  if (batch.rows.empty()) return at_end();
  SampleBatch result = finish(batch);
  planned_.pop_front();
  return result;
}

void SampleLoader::Impl::restore(const std::string& text) {
  LoaderPosition position = read_position(text, identity_);
  cancelled_ = true;
  for (const auto& batch : planned_) {
    for (PlannedRow& row : batch->rows) {
      if (row.decoded.valid()) row.decoded.wait();
    }
  }
  planned_.clear();
  finished_ = false;
  cancelled_ = false;
  stream_->restore(position.order);
  behind_.restore(std::move(position.order));
  counter_.restore(position.counts, position.usable_in_epoch);
}

SampleLoader::SampleLoader(SampleLoaderOptions options, std::unique_ptr<const SampleDecoder> decoder)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(decoder))) {}
SampleLoader::~SampleLoader() = default;
SampleBatch SampleLoader::next() {
  return impl_->next();
}
std::string SampleLoader::position() const {
  return impl_->position();
}
void SampleLoader::restore(const std::string& position) {
  impl_->restore(position);
}
BadSampleReport SampleLoader::bad_samples() const {
  return impl_->bad_samples();
}

}  // namespace millrace
