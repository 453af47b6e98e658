// Softmax attention, forward and backward, on ATen's flash kernels or kernels/attention_fp32, also of padded texts; and
// forward-only with a bias on the scores.
//
// Shape letters: B batch, H heads, L tokens, D head_dim. Scale is 1/sqrt(D) by default.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace millrace {

struct Attention {
  torch::Tensor out_BHLD;       // its strides are the kernel's choice
  torch::Tensor logsumexp_BHL;  // fp32
  // State of the CUDA kernel for its backward pass; empty on a CPU.
  torch::Tensor philox_seed, philox_offset, cum_seq_q, cum_seq_k;
  int64_t max_q = 0, max_k = 0;
  std::vector<Attention> samples;  // where keys are left out: of each sample, with its part of out_BHLD
};

// Keys that are left out: sequences begin with `size` tokens, of which sample b uses the first used[b].
struct PaddedPrefix {
  int64_t size = 0;
  std::vector<int64_t> used;  // empty: all
};

// Queries of the padding are computed like the others.
Attention attention_forward(const torch::Tensor& q_BHLD, const torch::Tensor& k_BHLD, const torch::Tensor& v_BHLD,
                            const PaddedPrefix& padding = {});

struct AttentionGradients {
  torch::Tensor dq_BHLD, dk_BHLD, dv_BHLD;
};
AttentionGradients attention_backward(const torch::Tensor& dout_BHLD, const torch::Tensor& q_BHLD,
                                      const torch::Tensor& k_BHLD, const torch::Tensor& v_BHLD,
                                      const Attention& forward, const PaddedPrefix& padding = {});

// softmax(scale * q k^T + bias) v with heads beside each other in a token: [B, L, H * D]. Without a graph, computed by
// kernels/attention_bf16 if the processor supports it. lengths: how many tokens each sample has; those after them are
// padding, of which nothing reads a key and whose own result is 0. Empty: all L.
torch::Tensor biased_attention(const torch::Tensor& q_BHLD, const torch::Tensor& k_BHLD, const torch::Tensor& v_BHLD,
                               const torch::Tensor& bias_1HLL, double scale, const std::vector<int64_t>& lengths = {});

}  // namespace millrace
