#include "nn/linear_rows.h"

#include "kernels/gelu/gelu.h"
#include "kernels/linear_bf16/linear_bf16.h"
#include "nn/gemm.h"

namespace millrace {

torch::Tensor linear_rows(const torch::Tensor& x, const torch::Tensor& weight_NK, const torch::Tensor& bias_N,
                          const torch::Tensor& residual) {
  torch::Tensor y;
  if (at::GradMode::is_enabled() || !x.is_cpu() || x.dim() < 2) {
    y = torch::linear(x, weight_NK, bias_N);
  } else {
    const torch::Tensor x_MK = x.flatten(0, -2);
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = weight_NK.size(0);
    if (residual.defined()) {
      const LinearBf16 layer{
          .weight_NK = weight_NK, .bias_N = bias_N, .residual_MN = residual.contiguous().flatten(0, -2)};
      if (suits_linear_bf16(x_MK, layer)) {
        y = torch::empty(shape, x.options());
        linear_bf16(y.flatten(0, -2), x_MK, layer);
        return y;
      }
    }
    y = matrix_product(x_MK, weight_NK.t(), bias_N).view(shape);
  }
  return residual.defined() ? residual + y : y;
}

torch::Tensor gated_gelu_rows(const torch::Tensor& x, const torch::Tensor& weight_NK,
                              const torch::Tensor& gate_weight_NK) {
  if (!at::GradMode::is_enabled()) {
    const torch::Tensor x_MK = x.flatten(0, -2);
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = weight_NK.size(0);
    const LinearBf16 layer{.weight_NK = weight_NK, .gate_weight_NK = gate_weight_NK};
    if (suits_linear_bf16(x_MK, layer)) {
      const torch::Tensor y = torch::empty(shape, x.options());
      linear_bf16(y.flatten(0, -2), x_MK, layer);
      return y;
    }
    // Both halves from one product; the activation overwrites its half.
    if (const torch::Tensor both_NK = stacked({weight_NK, gate_weight_NK}); both_NK.defined()) {
      const std::vector<torch::Tensor> halves = linear_rows(x_MK, both_NK).chunk(2, -1);
      gelu_forward(halves[0], {}, halves[0]);
      return halves[0].mul_(halves[1]).unflatten(0, x.sizes().slice(0, x.dim() - 1));
    }
  }
  const torch::Tensor active = torch::gelu(linear_rows(x, weight_NK), "tanh");
  return active * linear_rows(x, gate_weight_NK);
}

torch::Tensor stacked(c10::ArrayRef<torch::Tensor> parts) {
  const torch::Tensor& first = parts.front();
  std::vector<int64_t> shape = first.sizes().vec();
  shape[0] = 0;
  int64_t end = first.storage_offset();
  for (const torch::Tensor& part : parts) {
    const bool follows = part.is_contiguous() && part.storage().is_alias_of(first.storage()) &&
                         part.scalar_type() == first.scalar_type() && part.storage_offset() == end &&
                         part.sizes().slice(1) == first.sizes().slice(1);
    if (!follows) return {};
    end += part.numel();
    shape[0] += part.size(0);
  }
  return first.as_strided(shape, first.strides(), first.storage_offset());
}

}  // namespace millrace
