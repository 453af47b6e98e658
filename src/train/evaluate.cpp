#include "train/evaluate.h"

#include "base/error.h"
#include "checkpoint/loaded_checkpoint.h"
#include "nn/tensor_io.h"
#include "train/rank_peers.h"
#include "train/train_state.h"

namespace millrace {
namespace {

int64_t load_weights(FlatParameters& parameters, Communicator& ranks, const CheckpointWeights& weights) {
  const LoadedCheckpoint checkpoint =
      load_checkpoint(weights.folder, weights.step, make_peers(ranks), "the weights to evaluate", AskForStep::kByStep);
  const std::string prefix = weights.averaged ? "ema." : "model.";
  const torch::Tensor& compute = parameters.compute();
  // As saved: averages and most weights in fp32, for which the host has room.
  const auto saved = checkpoint.tensors().find(prefix + parameters.slices().front().name);
  const torch::Dtype dtype =
      saved == checkpoint.tensors().end() ? compute.scalar_type() : to_scalar_type(saved->second.dtype);
  const torch::Tensor flat = dtype == compute.scalar_type()
                                 ? compute
                                 : torch::zeros({compute.numel()}, torch::dtype(dtype).device(torch::kCPU));
  checkpoint.copy_into(weight_pieces(parameters, prefix, flat), Surplus::kIgnore);
  if (!flat.is_same(compute)) compute.copy_(flat);
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
