// CLIP's text encoder (Radford et al. 2021, arXiv:2103.00020), as transformers' CLIPTextModel: a causal pre-norm
// transformer whose normalised output at the end-of-text token describes the whole text.
//
// Shape letters: B batch, L tokens, D hidden_size, H heads, K width of a head.
#pragma once

#include <memory>
#include <vector>

#include <torch/nn/module.h>
#include <torch/types.h>

#include "models/clip/config.h"
#include "nn/joint_linear.h"
#include "nn/plain_layers.h"
#include "parallel/flat_model.h"

namespace millrace::clip {

struct ClipOutput {
  torch::Tensor pooled_BD;              // last_hidden_state at the end-of-text token; not projected
  torch::Tensor last_hidden_state_BLD;  // after the final norm
};

struct ClipAttention : torch::nn::Module {
  explicit ClipAttention(const ClipConfig& config);
  torch::Tensor forward(const torch::Tensor& x_BLD) const;

 private:
  int64_t num_heads_;
  std::shared_ptr<Linear> q_proj_, k_proj_, v_proj_, out_proj_;
  JointLinear qkv_;
};

struct ClipMlp : torch::nn::Module {
  explicit ClipMlp(const ClipConfig& config);
  torch::Tensor forward(const torch::Tensor& x_BLD) const;

 private:
  bool quick_gelu_;
  std::shared_ptr<Linear> fc1_, fc2_;
};

struct ClipLayer : torch::nn::Module {
  explicit ClipLayer(const ClipConfig& config);
  torch::Tensor forward(torch::Tensor x_BLD) const;

 private:
  std::shared_ptr<PlainLayerNorm> layer_norm1_, layer_norm2_;
  std::shared_ptr<ClipAttention> self_attn_;
  std::shared_ptr<ClipMlp> mlp_;
};

class Clip : public FlatModel {
 public:
  // If sharded over placement.mesh, all ranks of the shard axis must call forward() equally often.
  Clip(const ClipConfig& config, const FlatParametersOptions& placement);
  Clip(const ClipConfig& config, const torch::TensorOptions& options) : Clip(config, on_one_device(options)) {}

  // What the backward pass needs from a forward pass: each layer's input, from which the layer is computed again.
  struct Saved {
    std::vector<torch::Tensor> inputs_BLD;
    torch::Tensor index_B1D;  // of the end-of-text token
  };

  // input_ids_BL int64 in [0, vocab_size), L <= max_position_embeddings; ModelError otherwise. saved: for a backward
  // pass; null: none follows.
  ClipOutput forward(const torch::Tensor& input_ids_BL, Saved* saved = nullptr);
  // Adds to the gradients of the layers' adapters; those of the model's own weights are left out. Consumes saved.
  void backward(Saved& saved, const torch::Tensor& dpooled_BD);
  const ClipConfig& config() const { return config_; }

 private:
  torch::Tensor run_layer(size_t layer, const torch::Tensor& x_BLD) const;

  ClipConfig config_;
  std::shared_ptr<PlainEmbedding> token_embedding_, position_embedding_;
  std::vector<std::shared_ptr<ClipLayer>> layers_;
  std::shared_ptr<PlainLayerNorm> final_layer_norm_;
};

}  // namespace millrace::clip
