// Self-attention of consecutive documents in a packed batch: documents do not see each other, and no mask is built.
//
// Shape letters: T tokens of all documents together, H query heads, K key and value heads (H is a multiple of K; query
// head h reads key head h / (H / K), as in grouped-query attention, arXiv 2305.13245), D head_dim. Scale is 1/sqrt(D).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace millrace {

// The boundaries of the documents in a packed batch.
class Documents {
 public:
  // lengths: of each document, at least 1, in token order. device: that of the tokens.
  Documents(std::vector<int64_t> lengths, torch::Device device);

  const std::vector<int64_t>& lengths() const { return lengths_; }
  int64_t num_tokens() const { return num_tokens_; }
  int64_t longest() const { return longest_; }
  // int32 [documents + 1], on the device: 0, the end of the first document, ..., T.
  const torch::Tensor& offsets() const { return offsets_; }

 private:
  std::vector<int64_t> lengths_;
  int64_t num_tokens_ = 0, longest_ = 0;
  torch::Tensor offsets_;
};

struct PackedAttentionOptions {
  bool causal = true;
  // A token sees itself and window - 1 tokens before it (Mistral's sliding window); 0: all before it. Requires causal.
  int64_t window = 0;
};

// Saved by the forward pass for the backward pass.
struct PackedAttention {
  torch::Tensor out_THD;
  std::vector<torch::Tensor> logsumexps;  // fp32, in the kernel's layout
  torch::Tensor rng_state, unused;        // CUDA only
};

// All tensors [T, heads, D]; D is contiguous, other strides are free.
PackedAttention packed_attention_forward(const torch::Tensor& q_THD, const torch::Tensor& k_TKD,
                                         const torch::Tensor& v_TKD, const Documents& documents,
                                         const PackedAttentionOptions& options = {});

struct PackedAttentionGradients {
  torch::Tensor dq_THD, dk_TKD, dv_TKD;
};
// Deterministic: the same bits every time.
PackedAttentionGradients packed_attention_backward(const torch::Tensor& dout_THD, const torch::Tensor& q_THD,
                                                   const torch::Tensor& k_TKD, const torch::Tensor& v_TKD,
                                                   const PackedAttention& forward, const Documents& documents,
                                                   const PackedAttentionOptions& options = {});

}  // namespace millrace
