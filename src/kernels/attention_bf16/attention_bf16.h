// Attention of frozen models in bf16 on a CPU with AVX-512's dot products of bf16 pairs, with a bias that is added to
// the scores, as T5 has one for relative positions. Scores, softmax and sums are fp32; the softmax is rounded to bf16
// before it weighs the values.
//
// Letters: B batch, H heads, L queries, S keys, D a head's size.
#pragma once

#include <torch/types.h>

namespace millrace {

// Whether attention_bf16() accepts these and is the fastest way: on AMD's processors (see linear_bf16.h).
bool suits_attention_bf16(const torch::Tensor& q_BHLD, const torch::Tensor& k_BHSD, const torch::Tensor& v_BHSD,
                          const torch::Tensor& bias_HLS);

// out_BHLD = softmax(scale * q k^T + bias) v. bias_HLS may be undefined; minus infinity in it hides a key, but not all
// of a query's. Tensors are bf16 on the CPU and have a contiguous last dimension; otherwise any strides. The same bits
// for any number of threads. Requires has_bf16_dot_products().
void attention_bf16(const torch::Tensor& out_BHLD, const torch::Tensor& q_BHLD, const torch::Tensor& k_BHSD,
                    const torch::Tensor& v_BHSD, const torch::Tensor& bias_HLS, double scale);

// The same composed of ATen's operations, in any floating dtype.
torch::Tensor attention_bf16_reference(const torch::Tensor& q_BHLD, const torch::Tensor& k_BHSD,
                                       const torch::Tensor& v_BHSD, const torch::Tensor& bias_HLS, double scale);

}  // namespace millrace
