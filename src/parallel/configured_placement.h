// The placement of a model's parameters according to a configuration.
#pragma once

#include <torch/types.h>

#include "config/run_config.h"
#include "parallel/flat_parameters.h"

namespace millrace {

// training.mixed_precision_param; auto: bfloat16 on GPUs and on CPUs with bfloat16 instructions.
torch::Dtype compute_dtype(const RunConfig& config, torch::Device device);

// For training on this device: compute_dtype(), with or without masters (training.dtype), reductions and resharding.
// Throws ConfigError when the weights would be stored in a narrower type than the arithmetic's.
FlatParametersOptions configured_placement(const RunConfig& config, torch::Device device);

}  // namespace millrace
