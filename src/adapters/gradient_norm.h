// How fast the gradients would change the layers that LoRAs are on: sd-scripts' norm/avg_grad_norm.
#pragma once

#include <vector>

#include "adapters/max_norm.h"

namespace millrace {

struct LoraGradient {
  LoraPair pair;
  torch::Tensor ddown_RK, dup_NR;
};

// The mean over all adapters of the mean length of the rows of scale (up ddown + dup down) [N, K], which is the change
// of a layer for a small step along the gradients. It comes from a 2R x 2R product, not from the large matrix. Of none:
// not a number.
double mean_gradient_norm(const std::vector<LoraGradient>& gradients);

}  // namespace millrace
