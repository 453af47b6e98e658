// Softmax attention, forward and backward, on ATen's flash kernels; also forward-only with a bias on the scores.
//
// Shape letters: B batch, H heads, L tokens, D head_dim. Scale is 1/sqrt(D) by default.
#pragma once

#include <torch/types.h>

namespace millrace {

struct Attention {
  torch::Tensor out_BHLD;       // its strides are the kernel's choice
  torch::Tensor logsumexp_BHL;  // fp32
  // State of the CUDA kernel for its backward pass; empty on a CPU.
  torch::Tensor philox_seed, philox_offset, cum_seq_q, cum_seq_k;
  int64_t max_q = 0, max_k = 0;
};

Attention attention_forward(const torch::Tensor& q_BHLD, const torch::Tensor& k_BHLD, const torch::Tensor& v_BHLD);

struct AttentionGradients {
  torch::Tensor dq_BHLD, dk_BHLD, dv_BHLD;
};
AttentionGradients attention_backward(const torch::Tensor& dout_BHLD, const torch::Tensor& q_BHLD,
                                      const torch::Tensor& k_BHLD, const torch::Tensor& v_BHLD,
                                      const Attention& forward);

// softmax(scale * q k^T + bias) v with heads beside each other in a token: [B, L, H * D]. Without a graph, computed by
// kernels/attention_bf16 if the processor supports it.
torch::Tensor biased_attention(const torch::Tensor& q_BHLD, const torch::Tensor& k_BHLD, const torch::Tensor& v_BHLD,
                               const torch::Tensor& bias_1HLL, double scale);

}  // namespace millrace
