// In which order an epoch goes through the batches of a data set.
#pragma once

#include <cstdint>
#include <vector>

#include "picture_sets/picture_set.h"

namespace millrace {

struct PictureBatch {
  size_t bucket = 0;               // number in PicturePart::buckets
  std::vector<uint32_t> pictures;  // numbers in PicturePart::pictures; batch_size of them, or what a bucket has left
};

// Our own order: it depends on (seed, data set, epoch) alone, so that a resumed run needs nothing of the epochs before.
std::vector<PictureBatch> epoch_batches(const PicturePart& part, int64_t batch_size, uint64_t seed, uint64_t dataset,
                                        uint32_t epoch);

// sd-scripts' order: every epoch shuffles what the one before has left, by Python's random seeded with seed + epoch;
// epoch 0 has seed 0 whatever the run's. (Its loader shuffles the batches once more, by a generator of torch's.)
class PythonBatchOrder {
 public:
  PythonBatchOrder(const PicturePart& part, int64_t batch_size);
  void next_epoch(int64_t seed);
  int64_t epoch() const { return epoch_; }
  std::vector<PictureBatch> batches() const;

 private:
  struct Index {
    size_t bucket;
    size_t batch;
  };
  void shuffle(int64_t seed);

  std::vector<Bucket> buckets_;
  std::vector<Index> indices_;
  size_t batch_size_;
  int64_t epoch_ = 0;
};

}  // namespace millrace
