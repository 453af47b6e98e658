// What a task writes of a run for other programs, beside the weights of a whole model.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include <torch/types.h>

#include "checkpoint/run_weights.h"
#include "config/run_config.h"

namespace millrace {

// A file beside exported weights: a copy of source or, where that is empty, text.
struct Companion {
  std::string name;
  std::filesystem::path source;
  std::string text;
};

// How the adapters of a run's checkpoint are written.
struct WriteAdapters {
  // Throws ConfigError unless the task has this naming ("": the one it prefers) and output can be the name of what is
  // written.
  void (*check)(const std::filesystem::path& output, const std::string& naming) = nullptr;
  // Returns one line about what was written. dtype: none: as the checkpoint has it.
  std::string (*write)(const RunConfig& config, const OpenRunWeights& run, const std::filesystem::path& output,
                       const std::string& naming, const std::optional<torch::ScalarType>& dtype) = nullptr;
};

}  // namespace millrace
