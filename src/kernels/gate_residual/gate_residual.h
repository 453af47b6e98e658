// The end of a sub-layer of a modulated transformer: out = x + gate * (y + bias), with y a projection's output before
// its bias; alone, or together with the norm_modulate of the sub-layer that follows.
//
// Letters: B batch, L tokens, D features. Rows may lie anywhere as long as a row itself is contiguous; gate_BD,
// shift_BD and scale_BD may be slices of one large [B, sum] tensor. Tensors are fp32 or bf16 (all with L the same, the
// others each either); arithmetic is fp32. bias_D may be undefined. Shapes that do not fit are LogicErrors.
#pragma once

#include <torch/types.h>

namespace millrace {

// out_BLD may be x_BLD or y_BLD.
void gate_residual_forward(const torch::Tensor& x_BLD, const torch::Tensor& y_BLD, const torch::Tensor& gate_BD,
                           const torch::Tensor& bias_D, const torch::Tensor& out_BLD);

// dx is dout_BLD itself and left to the caller. dy = gate * dout, dgate = sum over L of dout * (y + bias),
// dbias (undefined: not wanted) = sum over B and L of dy, added with accumulate_dbias. dy_BLD may be dout_BLD or y_BLD.
void gate_residual_backward(const torch::Tensor& dout_BLD, const torch::Tensor& y_BLD, const torch::Tensor& gate_BD,
                            const torch::Tensor& bias_D, const torch::Tensor& dy_BLD, const torch::Tensor& dgate_BD,
                            const torch::Tensor& dbias_D, bool accumulate_dbias);

// One pass over each row: out = x + gate * (y + bias); n = norm_modulate(out, shift, scale).
// mean_BL and rstd_BL (fp32, contiguous) may be undefined. out_BLD may be x_BLD or y_BLD; n_BLD may be y_BLD if out_BLD
// is not.
struct GateResidualNormForward {
  torch::Tensor x_BLD, y_BLD, gate_BD, bias_D;
  torch::Tensor shift_BD, scale_BD;
  double eps = 1e-6;
  torch::Tensor out_BLD, n_BLD, mean_BL, rstd_BL;
};
void gate_residual_norm_forward(const GateResidualNormForward& args);

// The backward pass (one pass on CUDA, two on a CPU, where that is faster): on entry dout_BLD is the gradient that
// reaches `out` by the residual path, on return the whole gradient of `out` (hence of x); then dy and dgate as in
// gate_residual_backward. dy_BLD may be dn_BLD or y_BLD.
struct GateResidualNormBackward {
  torch::Tensor dn_BLD, out_BLD, scale_BD, mean_BL, rstd_BL;
  torch::Tensor y_BLD, gate_BD, bias_D;
  torch::Tensor dout_BLD;              // in and out
  torch::Tensor dshift_BD, dscale_BD;  // out
  torch::Tensor dy_BLD, dgate_BD;      // out
  torch::Tensor dbias_D;               // out, or undefined
  bool accumulate_dbias = true;
};
void gate_residual_norm_backward(const GateResidualNormBackward& args);

// With an autograd graph.
torch::Tensor gate_residual(const torch::Tensor& x_BLD, const torch::Tensor& y_BLD, const torch::Tensor& gate_BD,
                            const torch::Tensor& bias_D = {});
// {out, n}
std::tuple<torch::Tensor, torch::Tensor> gate_residual_norm(const torch::Tensor& x_BLD, const torch::Tensor& y_BLD,
                                                            const torch::Tensor& gate_BD, const torch::Tensor& bias_D,
                                                            const torch::Tensor& shift_BD,
                                                            const torch::Tensor& scale_BD, double eps = 1e-6);

// Composed of ATen's operations, in x's dtype throughout.
torch::Tensor gate_residual_reference(const torch::Tensor& x_BLD, const torch::Tensor& y_BLD,
                                      const torch::Tensor& gate_BD, const torch::Tensor& bias_D = {});
std::tuple<torch::Tensor, torch::Tensor> gate_residual_norm_reference(
    const torch::Tensor& x_BLD, const torch::Tensor& y_BLD, const torch::Tensor& gate_BD, const torch::Tensor& bias_D,
    const torch::Tensor& shift_BD, const torch::Tensor& scale_BD, double eps = 1e-6);

}  // namespace millrace
