#include "kernels/gate_residual/gate_residual.h"
#include "kernels/norm_modulate/norm_modulate.h"

namespace millrace {

torch::Tensor gate_residual_reference(const torch::Tensor& x_BLD, const torch::Tensor& y_BLD,
                                      const torch::Tensor& gate_BD, const torch::Tensor& bias_D) {
  const torch::Tensor biased_BLD = bias_D.defined() ? y_BLD + bias_D.to(y_BLD.dtype()) : y_BLD;
  return x_BLD + gate_BD.to(x_BLD.dtype()).unsqueeze(1) * biased_BLD;
}

std::tuple<torch::Tensor, torch::Tensor> gate_residual_norm_reference(
    const torch::Tensor& x_BLD, const torch::Tensor& y_BLD, const torch::Tensor& gate_BD, const torch::Tensor& bias_D,
    const torch::Tensor& shift_BD, const torch::Tensor& scale_BD, double eps) {
  const torch::Tensor out_BLD = gate_residual_reference(x_BLD, y_BLD, gate_BD, bias_D);
  return {out_BLD, norm_modulate_reference(out_BLD, shift_BD, scale_BD, eps)};
}

}  // namespace millrace
