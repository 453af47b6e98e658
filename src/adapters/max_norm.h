// Keeps what LoRAs add to their layers from growing: sd-scripts' scale_weight_norms.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace millrace {

struct LoraPair {
  torch::Tensor down_RK, up_NR;
  double scale = 1;
};

// The Frobenius norm of scale up down for each pair: fp64 on the CPU. It comes from two R x R products, not from the
// large matrix.
torch::Tensor product_norms(const std::vector<LoraPair>& pairs);

struct MaxNormResult {
  int64_t scaled = 0;                  // pairs that were above the limit
  double mean_norm = 0, max_norm = 0;  // of all pairs, afterwards
  std::vector<double> factors;         // on both matrices of each pair: 1, or the root of limit / norm
};
MaxNormResult max_norm_factors(const torch::Tensor& norms, double max_norm);

}  // namespace millrace
