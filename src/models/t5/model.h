// The encoder of T5 (Raffel et al. 2020, arXiv:1910.10683), v1.0 and v1.1, as transformers' T5EncoderModel: pre-norm
// blocks without biases, RMS norms, unscaled attention with a learnt bias for the distance between tokens that all
// blocks share.
//
// Shape letters: B batch, L tokens, D d_model, H heads, K d_kv.
#pragma once

#include <memory>
#include <vector>

#include <torch/nn/module.h>
#include <torch/types.h>

#include "models/t5/config.h"
#include "nn/joint_linear.h"
#include "nn/plain_layers.h"
#include "parallel/flat_model.h"

namespace millrace::t5 {

// The learnt bias per head for every bucket of distances.
struct T5PositionBias : torch::nn::Module {
  explicit T5PositionBias(const T5Config& config);
  torch::Tensor forward(int64_t length) const;  // [1, H, L, L]

 private:
  int64_t num_buckets_, max_distance_;
  torch::Tensor weight_;  // [buckets, H]
};

// What all blocks' attentions share.
struct T5Distances {
  torch::Tensor bias_1HLL;
  std::vector<int64_t> lengths;  // see T5Encoder::forward()
};

struct T5Attention : torch::nn::Module {
  T5Attention(const T5Config& config, bool with_position_bias);
  // Returns residual_BLD plus the attention's result; the feed-forward layer likewise adds its own.
  torch::Tensor forward(const torch::Tensor& x_BLD, const T5Distances& distances,
                        const torch::Tensor& residual_BLD) const;
  std::shared_ptr<T5PositionBias> position_bias;  // in the first block only

 private:
  int64_t num_heads_;
  std::shared_ptr<Linear> q_, k_, v_, o_;
  JointLinear qkv_;
};

struct T5FeedForward : torch::nn::Module {
  explicit T5FeedForward(const T5Config& config);
  torch::Tensor forward(const torch::Tensor& x_BLD, const torch::Tensor& residual_BLD) const;

 private:
  enum class Activation { kRelu, kGelu, kGeluTanh, kSilu };
  torch::Tensor activate(const torch::Tensor& x) const;

  Activation activation_;
  std::shared_ptr<Linear> in_, gated_in_, out_;
};

struct T5Block : torch::nn::Module {
  T5Block(const T5Config& config, bool with_position_bias);
  torch::Tensor forward(torch::Tensor x_BLD, const T5Distances& distances) const;
  std::shared_ptr<T5Attention> attention;

 private:
  std::shared_ptr<PlainRmsNorm> attention_norm_, feed_forward_norm_;
  std::shared_ptr<T5FeedForward> feed_forward_;
};

class T5Encoder : public FlatModel {
 public:
  // If sharded over placement.mesh, a rank holds its part of the embedding and of every block; all ranks of the shard
  // axis must then call forward() equally often, each with its own batch.
  T5Encoder(const T5Config& config, const FlatParametersOptions& placement);
  T5Encoder(const T5Config& config, const torch::TensorOptions& options) : T5Encoder(config, on_one_device(options)) {}

  // What the backward pass needs from a forward pass: each block's input, from which the block is computed again.
  struct Saved {
    std::vector<torch::Tensor> inputs_BLD;
    T5Distances distances;
  };

  // input_ids_BL int64 in [0, vocab_size), of any length. lengths: how many tokens each row has; none attends to the
  // padding after them, whose own hidden states are of no use. Empty: every token attends to every token, since FLUX
  // was trained without a mask. Returns the last hidden state [B, L, D] after the final norm. saved: for a backward
  // pass; null: none follows.
  torch::Tensor forward(const torch::Tensor& input_ids_BL, Saved* saved = nullptr,
                        const std::vector<int64_t>& lengths = {});
  // Adds to the gradients of the blocks' adapters; those of the model's own weights are left out. Consumes saved.
  void backward(Saved& saved, const torch::Tensor& doutput_BLD);
  const T5Config& config() const { return config_; }

 private:
  torch::Tensor run_block(size_t block, const torch::Tensor& x_BLD, const T5Distances& distances) const;

  T5Config config_;
  std::shared_ptr<PlainEmbedding> shared_;
  std::vector<std::shared_ptr<T5Block>> blocks_;
  std::shared_ptr<PlainRmsNorm> final_layer_norm_;
};

// The bucket of every pair of positions, int64 [L, L], [query, key]: half the buckets are for keys after the query; in
// each half, the first half is for exact distances, the rest for logarithmic steps up to max_distance.
torch::Tensor relative_position_buckets(int64_t length, int64_t num_buckets, int64_t max_distance,
                                        const torch::Device& device);

}  // namespace millrace::t5
