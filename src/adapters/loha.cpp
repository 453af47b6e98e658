#include "adapters/loha.h"

#include "nn/gemm.h"
#include "nn/unplaced.h"

namespace millrace {

Loha::Loha(int64_t in_features, int64_t out_features, int64_t rank, double scale)
    : ModuleAdapter("Loha"), scale_(scale) {
  const auto parameter = [&](const char* name, int64_t rows, int64_t columns) {
    return register_parameter(name, unplaced_parameter({rows, columns}), /*requires_grad=*/false);
  };
  w1_a_NR = parameter("w1_a", out_features, rank);
  w1_b_RK = parameter("w1_b", rank, in_features);
  w2_a_NR = parameter("w2_a", out_features, rank);
  w2_b_RK = parameter("w2_b", rank, in_features);
}

torch::Tensor Loha::change_NK() const {
  return matrix_product(w1_a_NR, w1_b_RK).mul_(matrix_product(w2_a_NR, w2_b_RK)).mul_(scale_ * strength());
}

void Loha::complete_forward(torch::Tensor& out_MN, const torch::Tensor& x_MK, LinearPass&) const {
  if (strength() == 0) return;
  gemm(out_MN, x_MK, change_NK().t(), /*accumulate=*/true);
}

void Loha::add_input_gradient(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, LinearPass&) const {
  if (strength() == 0) return;
  gemm(dx_MK, dy_MN, change_NK(), /*accumulate=*/true);
}

void Loha::add_gradients(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, LinearPass&) {
  if (strength() == 0 || !w1_a_NR.grad().defined()) return;
  const torch::Tensor dchange_NK = matrix_product(dy_MN.t(), x_MK).mul_(scale_ * strength());
  // Each factor's gradient is that of the product times the other factor.
  const auto add = [&](torch::Tensor& a_NR, torch::Tensor& b_RK, const torch::Tensor& other_NK) {
    const torch::Tensor dfactor_NK = dchange_NK * other_NK;
    gemm(a_NR.mutable_grad(), dfactor_NK, b_RK.t(), /*accumulate=*/true);
    gemm(b_RK.mutable_grad(), a_NR.t(), dfactor_NK, /*accumulate=*/true);
  };
  add(w1_a_NR, w1_b_RK, matrix_product(w2_a_NR, w2_b_RK));
  add(w2_a_NR, w2_b_RK, matrix_product(w1_a_NR, w1_b_RK));
}

}  // namespace millrace
