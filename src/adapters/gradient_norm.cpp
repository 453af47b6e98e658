#include "adapters/gradient_norm.h"

#include <cmath>
#include <limits>

namespace millrace {

double mean_gradient_norm(const std::vector<LoraGradient>& gradients) {
  if (gradients.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::vector<torch::Tensor> means;
  for (const LoraGradient& each : gradients) {
    const auto wide = [](const torch::Tensor& tensor) { return tensor.to(torch::kFloat32); };
    // In fp32, which GPUs multiply fast. Row n of the sum is row n of [up, dup] times [ddown; down]: its length comes
    // from the latter's inner products.
    const torch::Tensor left_N2R = at::cat({wide(each.pair.up_NR), wide(each.dup_NR)}, 1);
    const torch::Tensor right_2RK = at::cat({wide(each.ddown_RK), wide(each.pair.down_RK)}, 0);
    const torch::Tensor inner_2R2R = at::matmul(right_2RK, right_2RK.t());
    const torch::Tensor squares_N = (at::matmul(left_N2R, inner_2R2R) * left_N2R).sum(1);
    means.push_back(squares_N.clamp_min(0).sqrt().mean().mul(std::abs(each.pair.scale)));
  }
  return at::stack(means).mean().item<double>();
}

}  // namespace millrace
