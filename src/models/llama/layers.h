// The layers of a Llama-style decoder, named as in Hugging Face's files.
//
// Letters, here and in block.* and model.*: T tokens of all documents, D hidden_size, H query heads, G key and value
// heads, K head_dim, E = (H + 2 G) K columns of q, k and v beside each other, F intermediate_size, P = K / 2 rotary
// pairs, V vocab_size.
#pragma once

#include <torch/nn/module.h>

#include <memory>

#include "models/llama/config.h"
#include "nn/linear.h"
#include "nn/plain_layers.h"

namespace millrace::llama {

struct SelfAttention : torch::nn::Module {
  explicit SelfAttention(const LlamaConfig& config);
  std::shared_ptr<Linear> q_proj, k_proj, v_proj, o_proj;
  std::shared_ptr<PlainRmsNorm> q_norm, k_norm;  // null but for Qwen3
};

struct Mlp : torch::nn::Module {
  explicit Mlp(const LlamaConfig& config);
  std::shared_ptr<Linear> gate_proj, up_proj, down_proj;
};

}  // namespace millrace::llama
