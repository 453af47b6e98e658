// The weights of a run of this program, from its folder.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "checkpoint/loaded_checkpoint.h"
#include "config/run_config.h"
#include "nn/tensor_io.h"

namespace millrace {

enum class WhichWeights { kBest, kAverage, kLast };         // kBest: the average if the run keeps one
WhichWeights parse_which_weights(const std::string& name);  // "best", "average" or "last"
// Whether this means the average in this run. Throws ConfigError for kAverage if the run keeps no average.
bool takes_average(const std::filesystem::path& run_folder, const RunConfig& config, WhichWeights which);

// Read from the disk one at a time: a checkpoint may be larger than memory.
struct OpenRunWeights {
  int64_t step = 0;
  bool averaged = false;
  TensorMap shapes;  // under our names; meta tensors with shapes and dtypes
  LoadedCheckpoint checkpoint;
  std::string prefix;  // of our names in the checkpoint

  torch::Tensor read(const std::string& name) const { return checkpoint.read(prefix + name); }
};

// True when the path is a run's folder (config.toml and checkpoints).
bool is_run_folder(const std::filesystem::path& path);
// config: of the run's config.toml. step: -1 for the latest checkpoint. Throws ConfigError or StorageError when
// something is missing.
OpenRunWeights open_run_weights(const std::filesystem::path& run_folder, const RunConfig& config, int64_t step,
                                WhichWeights which);
// The same of a checkpoint that is open already.
OpenRunWeights open_run_weights(const std::filesystem::path& run_folder, const RunConfig& config,
                                LoadedCheckpoint checkpoint, WhichWeights which);

}  // namespace millrace
