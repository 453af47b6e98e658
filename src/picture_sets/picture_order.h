// Which samples of a file's data sets each step trains on, and which of them each rank takes.
//
// The order of an epoch is a function of (data sets, seed, epoch) alone: it neither depends on the number of ranks nor
// on what was trained before.
#pragma once

#include <cstdint>
#include <vector>

#include "picture_sets/picture_set.h"

namespace millrace {

struct PlannedPicture {
  uint32_t picture = 0;  // number in its part's pictures
  // Names the sample's random numbers: pictures are numbered over all data sets, and each repeat has an id of its own.
  uint64_t id = 0;
};

// Samples of one bucket of one data set.
struct PlannedPictures {
  size_t set = 0;     // number of the data set
  size_t bucket = 0;  // number in its part's buckets
  std::vector<PlannedPicture> samples;
};

uint64_t picture_sample_id(uint64_t number_over_all_sets, uint64_t repeat);

// The batches of an epoch, from 0: those of all data sets, each of its batch_size or what a bucket has left, shuffled
// together.
std::vector<PlannedPictures> plan_epoch(const std::vector<PictureSet>& sets, uint64_t seed, uint32_t epoch);

// Every picture that validation_split holds back, once, sorted by data set, bucket and picture; batches of batch_size
// or what a bucket has left.
std::vector<PlannedPictures> plan_validation(const std::vector<PictureSet>& sets, int64_t batch_size);

struct PictureRows {
  size_t begin = 0, end = 0;
};
// The rows of a batch that a rank takes: as equal parts as possible, perhaps none.
PictureRows rows_of_rank(size_t num_rows, int rank, int num_ranks);

// A place in the endless row of epochs.
struct PicturePosition {
  uint32_t epoch = 0;
  uint64_t batch = 0;    // of the epoch: the next one
  uint64_t batches = 0;  // since the start of the run
  auto operator<=>(const PicturePosition&) const = default;
};

// Goes through the batches from a position on. sets must outlive the order and hold at least one sample.
class PictureOrder {
 public:
  PictureOrder(const std::vector<PictureSet>& sets, uint64_t seed) : sets_(sets), seed_(seed) {}

  // The batch at position(), which moves on. The reference holds until the next call.
  const PlannedPictures& next();
  const PicturePosition& position() const { return position_; }
  // Throws DataError for a batch behind the end of its epoch.
  void seek(const PicturePosition& position);

 private:
  void plan(uint32_t epoch);

  const std::vector<PictureSet>& sets_;
  uint64_t seed_;
  PicturePosition position_;
  bool is_planned_ = false;
  uint32_t planned_epoch_ = 0;
  std::vector<PlannedPictures> batches_;  // of planned_epoch_
};

}  // namespace millrace
