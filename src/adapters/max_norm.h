// Keeps what LoRAs add to their layers from growing: sd-scripts' scale_weight_norms.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace millrace {

struct LoraPair {
  torch::Tensor down_RK, up_NR;  // changed in place
  double scale = 1;
};

struct MaxNormResult {
  int64_t scaled = 0;                  // pairs that were above the limit
  double mean_norm = 0, max_norm = 0;  // of all pairs, afterwards
};

// Where the Frobenius norm of scale up down is above max_norm, both matrices shrink by the root of what brings it
// there. The norm comes from two R x R products, not from the large matrix.
MaxNormResult limit_norms(const std::vector<LoraPair>& pairs, double max_norm);

}  // namespace millrace
