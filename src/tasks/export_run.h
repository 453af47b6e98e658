// A run's result as other programs read it: a folder or file of weights, or of adapters.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <torch/types.h>

#include "adapters/merge_adapter.h"
#include "checkpoint/run_weights.h"
#include "formats/gguf_writer.h"
#include "models/model_table.h"
#include "models/shard_layout.h"
#include "tasks/adapter_export.h"

namespace millrace {

struct ExportOptions {
  std::string naming;                      // "": the model's first, or the only one of adapters
  std::optional<torch::ScalarType> dtype;  // none: as the checkpoint has it
  // Of a file of a folder; none: of a language model the files are those of the weights that it came from, else 5e9.
  std::optional<uint64_t> max_shard_bytes;
  int64_t step = -1;                 // -1: the newest checkpoint
  std::filesystem::path checkpoint;  // instead of the step: a checkpoint's folder, wherever it is
  WhichWeights which = WhichWeights::kBest;
  bool merged = false;              // of a run that trains adapters: the whole model with them merged into it
  std::optional<GgufStorage> gguf;  // a GGUF file of a language model instead of safetensors
  ShardLayout layout;               // which file each tensor goes to; empty: as max_shard_bytes says
  std::function<bool()> is_cancelled = nullptr;  // asked before each tensor; then StorageError is thrown
};

// Adapters into weights whose layers are named as in model. Throws ModelError for adapters that do not fit; place:
// where they come from, for messages.
void merge_into(AdapterMerger& merger, const ModelDescription& model, std::vector<AdapterTensors> adapters,
                double strength, const std::string& place);

// Sets layout, or max_shard_bytes, so that the files of a folder are those of weights; not where one of both is set or
// the weights are not there.
void follow_files(const std::filesystem::path& weights, ExportOptions& options);

// Writes one tensor after the other. output: a folder, which also gets the model's configuration and the files that
// belong to it (a tokenizer), or a file ending in .safetensors. A folder's files have their names when all are
// written; until then they are in its folder "unfinished". Returns one line about what was written. Throws ConfigError
// for a naming or an output that the run's task does not have, StorageError when the checkpoint is not there or the
// disk is full: nothing is left of what was written then.
std::string export_run(const std::filesystem::path& run_folder, const RunConfig& config,
                       const std::filesystem::path& output, const ExportOptions& options);

// Writes weights that read() gives, by our name; shapes: ours, as meta tensors; tokenizer: for a GGUF file, which holds
// one; config_json: instead of what the model says of itself; companions: beside the weights in a folder. Returns one
// line about them.
struct ExportedModel {
  const ModelDescription& model;
  const TensorMap& shapes;
  TensorSource read;
  std::filesystem::path tokenizer = {};
  std::optional<std::string> config_json = {};
  std::vector<Companion> companions = {};
};
std::string export_tensors(const std::filesystem::path& output, Naming naming, const ExportedModel& exported,
                           const ExportOptions& options);

// What belongs beside the weights that a run of this configuration trains, or trains adapters on: the model's
// configuration and the companions. shapes: as of describe_run_model().
void write_companion_files(const RunConfig& config, const TensorMap& shapes, const std::filesystem::path& folder);

// The weights of a model with adapters merged in, one at a time.
TensorSource merged_source(const ModelWeights& weights, const AdapterMerger& merger);

// The naming that was asked for; preferred for "", or the model's first naming where it does not have that one. Throws
// ConfigError for one that the model does not have.
Naming choose_naming(const std::string& naming, const ModelEntry& entry, Naming preferred);

}  // namespace millrace
