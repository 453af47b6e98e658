// Which weights of FLUX tensor parallelism cuts, and how: as data.
//
// After Megatron-LM (Shoeybi et al., arXiv 1909.08053): what makes heads and MLP channels is cut by rows, what joins
// them by columns, so that a rank computes whole heads and one sum over the ranks ends each branch.
#pragma once

#include <string>

#include "models/flux/config.h"
#include "parallel/tensor_split.h"

namespace millrace::flux {

// Throws ConfigError unless tp_size divides the heads and the MLP.
void check_tensor_parallel(const FluxConfig& config, int tp_size);

// How a parameter is cut; whole for those that every rank holds.
TensorSplit tensor_split(const FluxConfig& config, const std::string& name);

}  // namespace millrace::flux
