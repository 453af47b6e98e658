#include "checkpoint/run_weights.h"

#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "config/optimizer_rules.h"

namespace millrace {

namespace fs = std::filesystem;

bool is_run_folder(const fs::path& path) {
  return fs::exists(path / "config.toml");
}

WhichWeights parse_which_weights(const std::string& name) {
  if (name == "last") return WhichWeights::kLast;
  if (name == "average") return WhichWeights::kAverage;
  MILLRACE_CHECK(name == "best");
  return WhichWeights::kBest;
}

bool takes_average(const fs::path& run_folder, const RunConfig& config, WhichWeights which) {
  const bool has_average = keeps_average(config.optimizer);
  if (which == WhichWeights::kAverage && !has_average) {
    throw ConfigError("[" + run_folder.string() + "] expected a run with optimizer.ema_decay above 0, got one without");
  }
  return has_average && which != WhichWeights::kLast;
}

OpenRunWeights open_run_weights(const fs::path& run_folder, const RunConfig& config, int64_t step, WhichWeights which) {
  takes_average(run_folder, config, which);  // before all is read
  return open_run_weights(run_folder, config,
                          load_checkpoint(run_folder / config.checkpoint.folder, step, AskForStep::kByStep), which);
}

OpenRunWeights open_run_weights(const fs::path& run_folder, const RunConfig& config, LoadedCheckpoint checkpoint,
                                WhichWeights which) {
  const bool averaged = takes_average(run_folder, config, which);
  OpenRunWeights weights{checkpoint.step(), averaged, {}, std::move(checkpoint), averaged ? "ema." : "model."};
  for (const auto& [name, tensor] : weights.checkpoint.tensors()) {
    if (!starts_with(name, weights.prefix)) continue;
    weights.shapes[name.substr(weights.prefix.size())] =
        torch::empty(tensor.shape, torch::dtype(to_scalar_type(tensor.dtype)).device(torch::kMeta));
  }
  if (weights.shapes.empty()) {
    throw StorageError("[" + run_folder.string() + "] expected tensors named " + weights.prefix + "..., got none");
  }
  return weights;
}

}  // namespace millrace
