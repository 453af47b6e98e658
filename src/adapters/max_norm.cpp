#include "adapters/max_norm.h"

#include <algorithm>
#include <cmath>

namespace millrace {

torch::Tensor product_norms(const std::vector<LoraPair>& pairs) {
  std::vector<torch::Tensor> norms;
  for (const LoraPair& pair : pairs) {
    // |up down|^2 is the sum of the elementwise product of up^T up and down down^T.
    const torch::Tensor up = pair.up_NR.to(torch::kFloat64), down = pair.down_RK.to(torch::kFloat64);
    const torch::Tensor squares = at::matmul(up.t(), up) * at::matmul(down, down.t());
    norms.push_back(squares.sum().clamp_min(0).sqrt().mul(std::abs(pair.scale)));
  }
  return at::stack(norms).cpu();
}

MaxNormResult max_norm_factors(const torch::Tensor& norms, double max_norm) {
  MaxNormResult result;
  const double* values = norms.const_data_ptr<double>();
  for (int64_t i = 0; i < norms.numel(); ++i) {
    const bool is_above = values[i] > max_norm;
    const double norm = is_above ? max_norm : values[i];
    result.factors.push_back(is_above ? std::sqrt(max_norm / values[i]) : 1);
    result.scaled += is_above ? 1 : 0;
    result.mean_norm += norm / static_cast<double>(norms.numel());
    result.max_norm = std::max(result.max_norm, norm);
  }
  return result;
}

}  // namespace millrace
