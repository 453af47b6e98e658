// Root mean square norm (Zhang and Sennrich 2019, arXiv 1910.07467) with a weight per feature:
//   y = x * rstd * weight,   rstd = 1 / sqrt(mean(x^2) + eps)
//
// Letters: B batch, L tokens, D features. Rows of x, y and their gradients may lie anywhere as long as a row itself is
// contiguous: heads of a fused projection are rows too, with a token's heads as L. Tensors are fp32 or bf16 (those with
// L alike; the weight and its gradient each either); arithmetic is fp32, rounded once. Shapes that do not fit are
// LogicErrors.
#pragma once

#include <torch/types.h>

#include <utility>

namespace millrace {

// rstd_BL (fp32, contiguous) is written for the backward pass; it may be undefined. y_BLD may be x_BLD.
void rms_norm_forward(const torch::Tensor& x_BLD, const torch::Tensor& weight_D, double eps, const torch::Tensor& y_BLD,
                      const torch::Tensor& rstd_BL);

// The residual in the same pass over each row: sum_BLD = x_BLD + branch_BLD, and y_BLD is the norm of that sum (as it
// is rounded to the tensors' type). sum_BLD may be x_BLD or branch_BLD.
void add_rms_norm_forward(const torch::Tensor& x_BLD, const torch::Tensor& branch_BLD, const torch::Tensor& weight_D,
                          double eps, const torch::Tensor& sum_BLD, const torch::Tensor& y_BLD,
                          const torch::Tensor& rstd_BL);

// dx_BLD is overwritten, or, with accumulate_dx, added to: the gradient of a residual stream grows in place. dweight_D
// (undefined: a frozen norm) is overwritten, or added to with accumulate_dweight. dx_BLD may be dy_BLD unless
// accumulate_dx. Sums run in an order that depends on the shape alone.
void rms_norm_backward(const torch::Tensor& dy_BLD, const torch::Tensor& x_BLD, const torch::Tensor& weight_D,
                       const torch::Tensor& rstd_BL, const torch::Tensor& dx_BLD, bool accumulate_dx,
                       const torch::Tensor& dweight_D, bool accumulate_dweight);

// With a graph.
torch::Tensor rms_norm(const torch::Tensor& x_BLD, const torch::Tensor& weight_D, double eps);
// The sum and its norm.
std::pair<torch::Tensor, torch::Tensor> add_rms_norm(const torch::Tensor& x_BLD, const torch::Tensor& branch_BLD,
                                                     const torch::Tensor& weight_D, double eps);

// The same from ATen's operations: fallback, gradient oracle and test in one. Arithmetic in x's type, but never
// narrower than fp32; the norm is rounded to x's type before the weight is applied, as in transformers' models.
torch::Tensor rms_norm_reference(const torch::Tensor& x_BLD, const torch::Tensor& weight_D, double eps);
std::pair<torch::Tensor, torch::Tensor> add_rms_norm_reference(const torch::Tensor& x_BLD,
                                                               const torch::Tensor& branch_BLD,
                                                               const torch::Tensor& weight_D, double eps);

}  // namespace millrace
