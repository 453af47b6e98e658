// A run's result as other programs read it: a folder or file of weights, or of adapters.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include <torch/types.h>

#include "checkpoint/run_weights.h"
#include "models/model_table.h"

namespace millrace {

struct ExportOptions {
  std::string naming;                      // "": the model's first, or the only one of adapters
  std::optional<torch::ScalarType> dtype;  // none: as the checkpoint has it
  uint64_t max_shard_bytes = uint64_t{5} * 1000 * 1000 * 1000;
  int64_t step = -1;  // -1: the newest checkpoint
  WhichWeights which = WhichWeights::kBest;
};

// Writes one tensor after the other. output: a folder, which also gets the model's configuration and the files that
// belong to it (a tokenizer), or a file ending in .safetensors. Returns one line about what was written. Throws
// ConfigError for a naming or an output that the run's task does not have, StorageError when the checkpoint is not
// there.
std::string export_run(const std::filesystem::path& run_folder, const RunConfig& config,
                       const std::filesystem::path& output, const ExportOptions& options);

// Writes weights that read() gives, by our name; shapes: ours, as meta tensors. Returns one line about them.
std::string export_tensors(const std::filesystem::path& output, Naming naming, const TensorMap& shapes,
                           const WeightRules& rules, const TensorSource& read,
                           const std::optional<std::string>& config_json, const ExportOptions& options);

// The naming that was asked for; preferred for "", or the model's first naming where it does not have that one. Throws
// ConfigError for one that the model does not have.
Naming choose_naming(const std::string& naming, const ModelEntry& entry, Naming preferred);

}  // namespace millrace
