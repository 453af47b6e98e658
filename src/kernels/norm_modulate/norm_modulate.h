// Layer norm without affine parameters, then the modulation of an adaptive layer norm (AdaLN, Peebles and Xie 2023):
//   y = (1 + scale) * (x - mean) * rstd + shift,   rstd = 1 / sqrt(var + eps)
//
// Letters: B batch, L tokens, D features. Rows of x, y and their gradients may lie anywhere as long as a row itself is
// contiguous; shift_BD and scale_BD may be slices of one large [B, sum] tensor. Tensors are fp32 or bf16 (x, y and
// their gradients the same; each modulation tensor either); arithmetic is fp32. Shapes that do not fit are LogicErrors.
#pragma once

#include <torch/types.h>

namespace millrace {

// mean_BL and rstd_BL (fp32, contiguous) are written for the backward pass; both may be undefined.
// y_BLD may be x_BLD.
void norm_modulate_forward(const torch::Tensor& x_BLD, const torch::Tensor& shift_BD, const torch::Tensor& scale_BD,
                           double eps, const torch::Tensor& y_BLD, const torch::Tensor& mean_BL,
                           const torch::Tensor& rstd_BL);

// dx_BLD is overwritten, or, with accumulate_dx, added to: the gradient of a residual stream grows in place.
// dshift_BD and dscale_BD are overwritten. dx_BLD may be dy_BLD unless accumulate_dx. Sums run in an order that depends
// on the shape alone.
void norm_modulate_backward(const torch::Tensor& dy_BLD, const torch::Tensor& x_BLD, const torch::Tensor& scale_BD,
                            const torch::Tensor& mean_BL, const torch::Tensor& rstd_BL, const torch::Tensor& dx_BLD,
                            bool accumulate_dx, const torch::Tensor& dshift_BD, const torch::Tensor& dscale_BD);

// With an autograd graph.
torch::Tensor norm_modulate(const torch::Tensor& x_BLD, const torch::Tensor& shift_BD, const torch::Tensor& scale_BD,
                            double eps = 1e-6);

// The same composed of ATen's operations, in x's dtype throughout: fallback, gradient oracle and test reference.
torch::Tensor norm_modulate_reference(const torch::Tensor& x_BLD, const torch::Tensor& shift_BD,
                                      const torch::Tensor& scale_BD, double eps = 1e-6);

}  // namespace millrace
