// Rotary positions in place, with the halves of a head as pairs (Su et al., RoFormer, arXiv 2104.09864, in the order of
// Hugging Face's language models):
//   (x[i], x[i + K/2]) -> (x[i] cos - x[i + K/2] sin, x[i + K/2] cos + x[i] sin),   i < K/2
//
// Letters: T tokens, H heads, K channels of a head (even), P = K / 2 pairs. x_THK is fp32 or bf16 with any stride
// between tokens and between heads, contiguous channels; cos_TP and sin_TP are fp32 and contiguous, a row per token.
// Arithmetic is fp32. Shapes that do not fit are LogicErrors.
#pragma once

#include <torch/types.h>

namespace millrace {

// inverse: by the opposite angles, which is also the backward pass.
void rotate_in_place(const torch::Tensor& x_THK, const torch::Tensor& cos_TP, const torch::Tensor& sin_TP,
                     bool inverse = false);

// A new tensor, with a graph.
torch::Tensor rotate(const torch::Tensor& x_THK, const torch::Tensor& cos_TP, const torch::Tensor& sin_TP);

// The same from ATen's operations, in x's type throughout.
torch::Tensor rotate_reference(const torch::Tensor& x_THK, const torch::Tensor& cos_TP, const torch::Tensor& sin_TP);

}  // namespace millrace
