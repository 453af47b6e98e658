// Softmax attention in fp32 on a CPU, forward and backward. Scores exist one block at a time, as in Dao et al. 2022,
// arXiv 2205.14135; blocks that a query does not see are not computed. Products of blocks are those of
// kernels/gemm_fp32.
//
// Letters: H query heads, K key and value heads (H is a multiple of K; query head h reads key head h / (H / K)), L
// queries, S keys, D a head's size.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace millrace {

// Queries and the keys that they see, on the CPU in fp32: strides are free but for the last dimension, which is
// contiguous. The results of the forward pass are inputs of the backward pass.
struct AttentionSequence {
  torch::Tensor q_HLD, k_KSD, v_KSD;
  torch::Tensor out_HLD, logsumexp_HL;
};

struct AttentionSequenceGradients {
  torch::Tensor dout_HLD;
  torch::Tensor dq_HLD, dk_KSD, dv_KSD;  // results
};

struct AttentionFp32Options {
  double scale = 1;
  bool causal = false;  // a query sees the keys up to its own position; requires L == S
  int64_t window = 0;   // a query sees its own key and window - 1 before it; 0: all; requires causal
};

// Whether attention_fp32_*() accept such tensors, [.., H, L, D] and [.., K, S, D], and are the fastest way: with AVX2,
// for causal attention, of which ATen's kernel computes nearly all that is hidden; with AMX, for all.
bool suits_attention_fp32(const torch::Tensor& q_HLD, const torch::Tensor& k_KSD, const torch::Tensor& v_KSD,
                          bool causal);

// Write the results of every sequence. The same bits for any number of threads and any other sequences.
void attention_fp32_forward(const std::vector<AttentionSequence>& sequences, const AttentionFp32Options& options);
void attention_fp32_backward(const std::vector<AttentionSequence>& sequences,
                             const std::vector<AttentionSequenceGradients>& gradients,
                             const AttentionFp32Options& options);

}  // namespace millrace
