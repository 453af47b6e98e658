// Rows times dense matrices, with what follows the product in the same pass where a kernel takes it.
//
// Shape letters: M rows, N outputs, K inputs.
#pragma once

#include <torch/types.h>

namespace millrace {

// x [..., K] times weight_NK^T, plus bias_N and residual [..., N] where defined. Without a graph, products on a CPU go
// where they are fastest (nn/gemm.h).
torch::Tensor linear_rows(const torch::Tensor& x, const torch::Tensor& weight_NK, const torch::Tensor& bias_N = {},
                          const torch::Tensor& residual = {});

// gelu_tanh(x weight_NK^T) * (x gate_weight_NK^T).
torch::Tensor gated_gelu_rows(const torch::Tensor& x, const torch::Tensor& weight_NK,
                              const torch::Tensor& gate_weight_NK);

// Tensors that lie one after the other in one buffer, as FlatParameters places a unit's, as one along dimension 0;
// undefined where they do not.
torch::Tensor stacked(c10::ArrayRef<torch::Tensor> parts);

}  // namespace millrace
