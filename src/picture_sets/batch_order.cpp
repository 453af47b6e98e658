#include "picture_sets/batch_order.h"

#include <algorithm>

#include "base/error.h"
#include "base/python_random.h"

namespace millrace {
namespace {

PictureBatch batch_of(const Bucket& bucket, size_t number, size_t batch, size_t batch_size) {
  const size_t begin = batch * batch_size;
  const size_t end = std::min(begin + batch_size, bucket.pictures.size());
  const auto first = bucket.pictures.begin();
  return {number, {first + static_cast<ptrdiff_t>(begin), first + static_cast<ptrdiff_t>(end)}};
}

size_t batches_of(const Bucket& bucket, size_t batch_size) {
  return (bucket.pictures.size() + batch_size - 1) / batch_size;
}

}  // namespace

std::vector<PictureBatch> epoch_batches(const PicturePart& part, int64_t batch_size, uint64_t seed, uint64_t dataset,
                                        uint32_t epoch) {
  MILLRACE_CHECK(batch_size > 0);
  const auto size = static_cast<size_t>(batch_size);
  PhiloxSource random(random_stream(seed, RandomPurpose::kShuffle, epoch, dataset));
  std::vector<PictureBatch> batches;
  for (size_t number = 0; number < part.buckets.size(); ++number) {
    Bucket bucket = part.buckets[number];
    random.shuffle(bucket.pictures);
    for (size_t i = 0; i < batches_of(bucket, size); ++i) batches.push_back(batch_of(bucket, number, i, size));
  }
  random.shuffle(batches);
  return batches;
}

PythonBatchOrder::PythonBatchOrder(const PicturePart& part, int64_t batch_size)
    : buckets_(part.buckets), batch_size_(static_cast<size_t>(batch_size)) {
  MILLRACE_CHECK(batch_size > 0);
  for (size_t number = 0; number < buckets_.size(); ++number) {
    for (size_t i = 0; i < batches_of(buckets_[number], batch_size_); ++i) indices_.push_back({number, i});
  }
  shuffle(0);
}

void PythonBatchOrder::next_epoch(int64_t seed) {
  ++epoch_;
  shuffle(seed + epoch_);
}

void PythonBatchOrder::shuffle(int64_t seed) {
  PythonRandom random(seed);
  random.shuffle(indices_);
  for (Bucket& bucket : buckets_) random.shuffle(bucket.pictures);
}

std::vector<PictureBatch> PythonBatchOrder::batches() const {
  std::vector<PictureBatch> batches;
  for (const Index& index : indices_) {
    batches.push_back(batch_of(buckets_[index.bucket], index.bucket, index.batch, batch_size_));
  }
  return batches;
}

}  // namespace millrace
