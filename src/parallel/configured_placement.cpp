#include "parallel/configured_placement.h"

#include "base/error.h"

namespace millrace {

torch::Dtype compute_dtype(const RunConfig& config, torch::Device device) {
  const std::string& wanted = config.training.mixed_precision_param;
  if (wanted == "float32") return torch::kFloat32;
  if (wanted == "bfloat16" || device.is_cuda()) return torch::kBFloat16;
  return __builtin_cpu_supports("avx512bf16") ? torch::kBFloat16 : torch::kFloat32;
}

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
  placement.reshard = config.parallelism.fsdp_reshard_after_forward;
  return placement;
}

}  // namespace millrace
