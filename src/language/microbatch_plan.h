// Which samples are in which microbatch of all ranks together, epoch after epoch, and where the plan stands.
//
// Order kMillrace: the samples of all epochs follow each other, and every microbatch takes the next ones, across the
// ends of epochs; at the end of the last one the rest.
//
// Order kTorchtune: an epoch has whole microbatches alone (the rest of the samples is left out) and whole steps. The
// microbatches that are left over after its last step train in the first step of the next epoch, in front of that
// step's own: its first microbatch then has several passes. Without carries_over they are left out as well.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "language/epoch_plan.h"

namespace millrace {

struct MicrobatchOptions {
  int64_t samples = 1;   // of a microbatch of all ranks together
  int64_t ranks = 1;     // that share it; torchtune's sampler repeats samples up to a multiple of them
  int64_t per_step = 1;  // microbatches
  int64_t epochs = 0;    // 0: no end
  std::optional<int64_t> max_steps_per_epoch;  // kTorchtune
  bool carries_over = true;                    // kTorchtune
};

struct PlannedSample {
  int64_t epoch = 0, index = 0;  // index: in the epoch's order
  TextPieces pieces;
};

// In its passes, one after the other; one but for what torchtune carries over. A pass at the end may have fewer samples
// than the others, or none.
using PlannedPasses = std::vector<std::vector<PlannedSample>>;

class MicrobatchPlan {
 public:
  // Throws ConfigError when an epoch of torchtune's order has no whole step, DataError when there are no samples.
  MicrobatchPlan(EpochPlanner planner, const MicrobatchOptions& options);

  PlannedPasses next();
  // The step after which each epoch is over, and the steps that all of them make; both need epochs.
  std::vector<int64_t> epoch_ends() const;
  int64_t steps() const { return epoch_ends().back(); }

  // Before the next microbatch.
  std::string position() const;
  void restore(const std::string& position);  // throws DataError for another text

 private:
  PlannedPasses next_in_stream();
  PlannedPasses next_of_torchtune();
  std::vector<PlannedSample> torchtune_microbatch(const EpochPlan& plan, int64_t epoch, int64_t number) const;
  int64_t torchtune_microbatches(const EpochPlan& plan) const;  // of an epoch, with those left over
  void enter(int64_t epoch);

  EpochPlanner planner_;
  MicrobatchOptions options_;
  int64_t epoch_ = 0, next_ = 0;  // next_: sample of the stream, or microbatch of torchtune's epoch
  EpochPlan plan_;                // of epoch_
};

}  // namespace millrace
