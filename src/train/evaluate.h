// The validation loss of weights in a checkpoint, or of those already in the task.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "comm/communicator.h"
#include "train/task.h"

namespace millrace {

struct CheckpointWeights {
  std::filesystem::path folder;  // of the run's checkpoints
  int64_t step = -1;             // -1: the latest
  bool averaged = false;         // the moving average, if the run keeps one
};

struct Evaluation {
  ValidationResult result;
  int64_t step = 0;  // of the checkpoint
};

// Collective over all ranks; each loads its part. The same weights on the same ranks give the same loss to the last
// bit. weights: unset if the task already holds them. Throws ConfigError when the task has nothing to validate on.
Evaluation evaluate(Task& task, Communicator& ranks, const std::optional<CheckpointWeights>& weights);

}  // namespace millrace
