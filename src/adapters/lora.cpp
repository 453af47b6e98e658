#include "adapters/lora.h"

#include "base/error.h"
#include "kernels/philox_fill/philox_fill.h"
#include "nn/gemm.h"
#include "nn/unplaced.h"

namespace millrace {

Lora::Lora(int64_t in_features, int64_t out_features, int64_t rank, double scale)
    : ModuleAdapter("Lora"),
      down_RK(register_parameter("down", unplaced_parameter({rank, in_features}), /*requires_grad=*/false)),
      up_NR(register_parameter("up", unplaced_parameter({out_features, rank}), /*requires_grad=*/false)),
      scale_(scale) {}

void Lora::complete_forward(torch::Tensor& out_MN, const torch::Tensor& x_MK, LinearPass& pass) const {
  if (strength() == 0) return;
  compute_down(x_MK, pass);
  gemm(out_MN, pass.down_MR, up_NR.t(), /*accumulate=*/true);
}

void Lora::add_input_gradient(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, LinearPass& pass) const {
  if (strength() == 0) return;
  compute_ddown(dy_MN, pass);
  gemm(dx_MK, pass.ddown_MR, down_RK, /*accumulate=*/true);
}

void Lora::add_gradients(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, LinearPass& pass) {
  if (strength() == 0) return;
  torch::Tensor ddown_RK = down_RK.grad(), dup_NR = up_NR.grad();
  if (dup_NR.defined()) {
    if (!pass.down_MR.defined()) compute_down(x_MK, pass);
    gemm(dup_NR, dy_MN.t(), pass.down_MR, /*accumulate=*/true);
  }
  if (ddown_RK.defined()) {
    if (!pass.ddown_MR.defined()) compute_ddown(dy_MN, pass);
    gemm(ddown_RK, pass.ddown_MR.t(), x_MK, /*accumulate=*/true);
  }
}

void Lora::compute_down(const torch::Tensor& x_MK, LinearPass& pass) const {
  pass.down_MR = matrix_product(x_MK, down_RK.t());
  scale_and_mask(pass.down_MR);
}

void Lora::compute_ddown(const torch::Tensor& dy_MN, LinearPass& pass) const {
  pass.ddown_MR = matrix_product(dy_MN, up_NR);
  scale_and_mask(pass.ddown_MR);
}

void Lora::scale_and_mask(torch::Tensor& t_MR) const {
  t_MR.mul_(scale_ * product_strength());
  const int64_t rows = t_MR.size(0);
  if (mask_.defined()) {
    const torch::Tensor mask = mask_.to(t_MR.options());
    const int64_t samples = mask.size(0);
    MILLRACE_CHECK(rows % samples == 0);
    t_MR.view({samples, rows / samples, -1}).mul_(mask.unsqueeze(1));  // with a row each: of one row
  }
  if (!streams_B_.empty() && !t_MR.is_meta()) {
    const auto samples = static_cast<int64_t>(streams_B_.size());
    MILLRACE_CHECK(rows % samples == 0);
    const torch::Tensor numbers =
        torch::empty({samples, t_MR.numel() / samples}, t_MR.options().dtype(torch::kFloat32));
    philox_fill_uniform(numbers, streams_B_);
    t_MR.view({samples, -1}).mul_(numbers.ge_(dropout_).mul_(1 / (1 - dropout_)));
  }
}

}  // namespace millrace
