// One decoder layer: attention and a gated feed-forward network, each behind a norm and beside a residual.
// It is the unit of sharding, of recomputing and of gradients. Letters: layers.h.
#pragma once

#include <torch/types.h>

#include "models/llama/layers.h"
#include "nn/packed_attention.h"
#include "nn/recompute.h"
#include "parallel/tensor_parallel.h"
#include "parallel/token_share.h"

namespace millrace::llama {

// What all layers of one pass share.
struct BlockContext {
  const Documents* documents = nullptr;
  torch::Tensor cos_TP, sin_TP;
  TokenShare share;  // among the ranks that share each layer's heads and channels
};

// Keys and values of one sequence's tokens so far, for generating: room for S tokens, G heads, K channels.
struct KeyValueCache {
  torch::Tensor keys_SGK, values_SGK;
  int64_t length = 0;
};

class Block : public torch::nn::Module {
 public:
  // tp_size: the ranks that share it; it then has this rank's heads and channels.
  Block(const LlamaConfig& config, int64_t layer, int tp_size = 1);

  // Tensors of a forward pass, in the order in which they are computed, as far as they are kept.
  struct Saved {
    torch::Tensor x_UD;  // the layer's input
    torch::Tensor rstd1_U, normed1_TD;
    torch::Tensor qkv_TE;                      // products with biases; without q and k norms rotated in place
    torch::Tensor rstd_q, rstd_k, rotated_TE;  // with those norms: q and k normed and rotated
    PackedAttention attention;
    torch::Tensor middle_UD;  // after the attention's residual
    torch::Tensor rstd2_U, normed2_TD;
    torch::Tensor gate_TF, up_TF, activated_TF;
    LinearPass q_pass, k_pass, v_pass, o_pass, gate_pass, up_pass, down_pass;  // what adapters keep
  };

  // The layer's output, a new tensor. saved may be null (inference).
  torch::Tensor forward(const BlockContext& context, const torch::Tensor& x_UD, Saved* saved, Keep keep);
  // The layer's output for the tokens that follow those in the cache, which it takes in: any number of first tokens
  // (context's one document), later one at a time. Every rank has all of them.
  torch::Tensor extend(const BlockContext& context, const torch::Tensor& x_TD, KeyValueCache& cache) const;
  // Adds the gradients of what is trained and returns the gradient of x, in dout's memory, or nothing unless wants_dx.
  // Afterwards saved holds whatever was computed again; the caller drops it.
  torch::Tensor backward(const BlockContext& context, Saved& saved, torch::Tensor dout_UD, bool wants_dx);

 private:
  // Fill what is undefined in saved from what is defined.
  void compute_qkv(const BlockContext& context, Saved& saved) const;
  void compute_attention(const BlockContext& context, Saved& saved) const;
  void compute_mlp(const BlockContext& context, Saved& saved) const;
  torch::Tensor finish(const BlockContext& context, Saved& saved) const;
  static void drop(Saved& saved, Keep keep);
  torch::Tensor attend_to_cache(const torch::Tensor& query_1HK, const KeyValueCache& cache) const;

  void backward_mlp(const BlockContext& context, Saved& saved, SharedGradients& norms, torch::Tensor& d_UD);
  torch::Tensor backward_attention(const BlockContext& context, Saved& saved, SharedGradients& norms,
                                   torch::Tensor& d_UD, bool wants_dx);

  // Heads [first, first + count) of [T, E] or [T, (H + G) K], as [T, count, K].
  torch::Tensor heads(const torch::Tensor& x_TE, int64_t first, int64_t count) const;
  torch::Tensor queries(const Saved& saved) const;
  torch::Tensor keys(const Saved& saved) const;
  torch::Tensor values(const Saved& saved) const;

  int64_t num_heads_, num_key_value_heads_, head_dim_;
  double eps_;
  PackedAttentionOptions attention_options_;
  std::shared_ptr<SelfAttention> self_attn_;
  std::shared_ptr<Mlp> mlp_;
  std::shared_ptr<PlainRmsNorm> input_layernorm_, post_attention_layernorm_;
};

}  // namespace millrace::llama
