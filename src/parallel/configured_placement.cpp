#include "parallel/configured_placement.h"

#include "base/error.h"

namespace millrace {

torch::Dtype compute_dtype(const RunConfig& config, torch::Device device) {
  const std::string& wanted = config.training.mixed_precision_param;
  if (wanted == "float32") return torch::kFloat32;
  if (wanted == "bfloat16" || device.is_cuda()) return torch::kBFloat16;
  return __builtin_cpu_supports("avx512bf16") ? torch::kBFloat16 : torch::kFloat32;
}

namespace {

bool sums_in_bf16(const RunConfig& config, const FlatParametersOptions& placement) {
  const TrainingConfig& training = config.training;
  if (training.accumulate_dtype == "bfloat16" && placement.compute_dtype != torch::kBFloat16) {
    throw ConfigError("[training.accumulate_dtype] expected auto or float32 with float32 arithmetic, got bfloat16");
  }
  const bool accumulates = training.global_batch_size > training.local_batch_size;
  const bool wanted =
      training.accumulate_dtype == "auto" ? placement.without_masters : training.accumulate_dtype == "bfloat16";
  return accumulates && wanted;
}

}  // namespace

FlatParametersOptions configured_placement(const RunConfig& config, torch::Device device) {
  FlatParametersOptions placement;
  placement.compute_dtype = compute_dtype(config, device);
  placement.device = device;
  placement.training = true;
  placement.without_masters = config.training.dtype == Precision::kBFloat16;
  if (placement.without_masters && placement.compute_dtype != torch::kBFloat16) {
    throw ConfigError(
        "[training.mixed_precision_param] expected bfloat16 with weights kept in bfloat16 alone, got float32");
  }
  placement.reduce_dtype =
      config.training.mixed_precision_reduce == Precision::kBFloat16 ? torch::kBFloat16 : torch::kFloat32;
  placement.hands_over_gradients = config.optimizer.in_backward.value_or(false);
  placement.narrow_sums = sums_in_bf16(config, placement);
  placement.reduce_every_microbatch = config.parallelism.reduce_every_microbatch;
  placement.reshard = config.parallelism.fsdp_reshard_after_forward;
  return placement;
}

}  // namespace millrace
