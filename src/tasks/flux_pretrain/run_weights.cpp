#include "tasks/flux_pretrain/run_weights.h"

#include "base/error.h"
#include "base/text.h"

namespace millrace {

namespace fs = std::filesystem;

bool is_run_folder(const fs::path& path) {
  return fs::exists(path / "config.toml");
}

RunWeights load_run_weights(const fs::path& run_folder, int64_t step, WhichWeights which) {
  RunWeights weights;
  weights.config = load_run_config(run_folder / "config.toml", {});
  const LoadedCheckpoint checkpoint = load_checkpoint(run_folder / weights.config.checkpoint.folder, step);
  weights.step = checkpoint.step();
  const bool has_average = weights.config.optimizer.ema_decay > 0;
  if (which == WhichWeights::kAverage && !has_average) {
    throw ConfigError("[" + run_folder.string() + "] expected a run with optimizer.ema_decay above 0, got one without");
  }
  weights.averaged = has_average && which != WhichWeights::kLast;
  const std::string prefix = weights.averaged ? "ema." : "model.";
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    if (starts_with(name, prefix)) weights.tensors[name.substr(prefix.size())] = checkpoint.tensor(name);
  }
  if (weights.tensors.empty()) {
    throw StorageError("[" + run_folder.string() + "] expected tensors named " + prefix + "..., got none");
  }
  return weights;
}

}  // namespace millrace
