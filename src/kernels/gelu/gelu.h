// y = gelu_tanh(x + bias): the tanh form of the Gaussian error linear unit (Hendrycks and Gimpel 2016),
//   gelu_tanh(v) = v/2 * (1 + tanh(u)) = v * sigmoid(2u),   u = sqrt(2/pi) * (v + 0.044715 v^3)
//
// Letters: B batch, L tokens, M features. Rows may lie anywhere as long as a row itself is contiguous: x may be the
// right part of a fused projection's output, y the right part of the next one's input. Tensors are fp32 or bf16 (all
// with L the same; bias and its gradient each either); arithmetic is fp32. Shapes that do not fit are LogicErrors.
#pragma once

#include <torch/types.h>

namespace millrace {

// bias_M may be undefined. y_BLM may be x_BLM.
void gelu_forward(const torch::Tensor& x_BLM, const torch::Tensor& bias_M, const torch::Tensor& y_BLM);

// dx = dy * gelu'(x + bias); dbias (undefined: not wanted) = sum over B and L of dx, added with accumulate_dbias.
// dx_BLM may be dy_BLM or x_BLM.
void gelu_backward(const torch::Tensor& dy_BLM, const torch::Tensor& x_BLM, const torch::Tensor& bias_M,
                   const torch::Tensor& dx_BLM, const torch::Tensor& dbias_M, bool accumulate_dbias);

// With an autograd graph.
torch::Tensor gelu_tanh(const torch::Tensor& x_BLM, const torch::Tensor& bias_M = {});

// Composed of ATen's operations, in x's dtype throughout.
torch::Tensor gelu_reference(const torch::Tensor& x_BLM, const torch::Tensor& bias_M = {});

}  // namespace millrace
