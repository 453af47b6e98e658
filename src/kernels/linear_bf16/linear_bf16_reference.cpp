#include "kernels/linear_bf16/linear_bf16.h"

namespace millrace {

torch::Tensor linear_bf16_reference(const torch::Tensor& x_MK, const LinearBf16& layer) {
  torch::Tensor y_MN = at::linear(x_MK, layer.weight_NK);
  if (layer.gate_weight_NK.defined()) y_MN = at::gelu(y_MN, "tanh") * at::linear(x_MK, layer.gate_weight_NK);
  if (layer.bias_N.defined()) y_MN = y_MN + layer.bias_N;
  if (layer.residual_MN.defined()) y_MN = y_MN + layer.residual_MN;
  return y_MN;
}

}  // namespace millrace
