// How tensor parallelism splits the weights of FLUX, as data.
//
// After Megatron-LM (Shoeybi et al., arXiv 1909.08053): weights that produce heads and MLP channels are split by rows,
// weights that consume them by columns, so that a rank computes whole heads and each branch ends in one sum over ranks.
#pragma once

#include <string>

#include "models/flux/config.h"
#include "parallel/tensor_split.h"

namespace millrace::flux {

// Throws ConfigError unless tp_size divides the heads and the MLP.
void check_tensor_parallel(const FluxConfig& config, int tp_size);

// How a parameter is split; whole for those that every rank holds.
TensorSplit tensor_split(const FluxConfig& config, const std::string& name);

}  // namespace millrace::flux
