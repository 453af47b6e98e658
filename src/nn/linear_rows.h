// Rows times dense matrices, with the subsequent operations fused where a kernel supports it.
//
// Shape letters: M rows, N outputs, K inputs.
#pragma once

#include <torch/types.h>

namespace millrace {

// x [..., K] times weight_NK^T, plus bias_N and residual [..., N] if defined. Without a graph, products on a CPU use
// the fastest library (nn/gemm.h).
torch::Tensor linear_rows(const torch::Tensor& x, const torch::Tensor& weight_NK, const torch::Tensor& bias_N = {},
                          const torch::Tensor& residual = {});

// gelu_tanh(x weight_NK^T) * (x gate_weight_NK^T).
torch::Tensor gated_gelu_rows(const torch::Tensor& x, const torch::Tensor& weight_NK,
                              const torch::Tensor& gate_weight_NK);

// Tensors that are adjacent in one buffer, as FlatParameters places those of a unit, joined along dimension 0 without
// a copy; undefined if they are not adjacent.
torch::Tensor stacked(c10::ArrayRef<torch::Tensor> parts);

}  // namespace millrace
