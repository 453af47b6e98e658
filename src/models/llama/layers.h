// The layers of a Llama-style decoder, named as in Hugging Face's files.
//
// Letters, here and in block.* and model.*: T tokens of all documents, U those of which this rank computes norms and
// residuals (all, unless ranks share the layers: parallel/token_share.h), D hidden_size, H query heads, G key and value
// heads, K head_dim, E = (H + 2 G) K columns of q, k and v beside each other, F intermediate_size, P = K / 2 rotary
// pairs, V vocab_size.
//
// Of H, G, E, F and V these are a rank's own where tensor parallelism shares the layers (shard_plan.h).
#pragma once

#include <torch/nn/module.h>

#include <memory>

#include "models/llama/config.h"
#include "nn/linear.h"
#include "nn/plain_layers.h"

namespace millrace::llama {

struct SelfAttention : torch::nn::Module {
  SelfAttention(const LlamaConfig& config, int tp_size);
  std::shared_ptr<Linear> q_proj, k_proj, v_proj, o_proj;
  std::shared_ptr<PlainRmsNorm> q_norm, k_norm;  // null but for Qwen3
};

struct Mlp : torch::nn::Module {
  Mlp(const LlamaConfig& config, int tp_size);
  std::shared_ptr<Linear> gate_proj, up_proj, down_proj;
};

}  // namespace millrace::llama
