#include "train/evaluate.h"

#include "base/error.h"
#include "checkpoint/loaded_checkpoint.h"
#include "train/rank_peers.h"
#include "train/train_state.h"

namespace millrace {
namespace {

int64_t load_weights(FlatParameters& parameters, Communicator& ranks, const CheckpointWeights& weights) {
  const LoadedCheckpoint checkpoint =
      load_checkpoint(weights.folder, weights.step, make_peers(ranks), "the weights to evaluate");
  // Averages are kept in fp32, whatever the weights are.
  const torch::Tensor flat =
      weights.averaged ? torch::empty_like(parameters.master(), torch::kFloat32) : parameters.master();
  checkpoint.copy_into(weight_pieces(parameters, weights.averaged ? "ema." : "model.", flat), Surplus::kIgnore);
  if (!flat.is_same(parameters.master())) parameters.master().copy_(flat);
  parameters.refresh_compute();
  return checkpoint.step();
}

}  // namespace

Evaluation evaluate(Task& task, Communicator& ranks, const std::optional<CheckpointWeights>& weights) {
  Evaluation evaluation;
  if (weights) evaluation.step = load_weights(task.parameters(), ranks, *weights);
  const std::optional<ValidationResult> result = task.validate();
  if (!result) {
    throw ConfigError("[validation] expected a data set to validate on, got none (try --validation.dataset_path=...)");
  }
  evaluation.result = *result;
  return evaluation;
}

}  // namespace millrace
