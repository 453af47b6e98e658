// How a task writes the adapters of a run's checkpoint for other programs.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>

#include <torch/types.h>

#include "checkpoint/run_weights.h"
#include "config/run_config.h"

namespace millrace {

struct WriteAdapters {
  const char* form = "";  // whose naming
  // Throws ConfigError unless output can be the name of what is written.
  void (*check_output)(const std::filesystem::path& output) = nullptr;
  // Returns the number of layers. dtype: none: as the checkpoint has it.
  size_t (*write)(const RunConfig& config, const OpenRunWeights& run, const std::filesystem::path& output,
                  const std::optional<torch::ScalarType>& dtype) = nullptr;
};

}  // namespace millrace
