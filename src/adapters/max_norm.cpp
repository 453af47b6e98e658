#include "adapters/max_norm.h"

#include <algorithm>
#include <cmath>

namespace millrace {
namespace {

// |up down|^2 is the sum of the elementwise product of up^T up and down down^T.
double product_norm(const LoraPair& pair) {
  const torch::Tensor up = pair.up_NR.to(torch::kFloat64), down = pair.down_RK.to(torch::kFloat64);
  const torch::Tensor squares = at::matmul(up.t(), up) * at::matmul(down, down.t());
  return std::abs(pair.scale) * std::sqrt(std::max(0.0, squares.sum().item<double>()));
}

}  // namespace

MaxNormResult limit_norms(const std::vector<LoraPair>& pairs, double max_norm) {
  MaxNormResult result;
  for (const LoraPair& pair : pairs) {
    double norm = product_norm(pair);
    if (norm > max_norm) {
      const double root = std::sqrt(max_norm / norm);
      torch::Tensor down = pair.down_RK, up = pair.up_NR;
      down.mul_(root);
      up.mul_(root);
      norm = max_norm;
      ++result.scaled;
    }
    result.mean_norm += norm / static_cast<double>(pairs.size());
    result.max_norm = std::max(result.max_norm, norm);
  }
  return result;
}

}  // namespace millrace
