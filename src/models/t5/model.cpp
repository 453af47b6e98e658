#include "models/t5/model.h"

#include <cmath>

#include "nn/token_ids.h"

namespace millrace::t5 {
namespace {

// An inner node of the module tree: it only lends its name.
struct Group : torch::nn::Module {};

}  // namespace

torch::Tensor relative_position_buckets(int64_t length, int64_t num_buckets, int64_t max_distance,
                                        const torch::Device& device) {
  const int64_t per_direction = num_buckets / 2;
  const int64_t exact = per_direction / 2;
  // The distance only takes 2 * length - 1 values: one row of buckets holds them all. In fp32 on the CPU, step by step
  // as transformers does, so that no distance lands in the neighbouring bucket.
  const torch::Tensor distance = torch::arange(-(length - 1), length, torch::kInt64);  // key - query
  const torch::Tensor away = distance.abs();
  const torch::Tensor steps = torch::log(away.to(torch::kFloat32) / exact) /
                              std::log(static_cast<double>(max_distance) / static_cast<double>(exact)) *
                              (per_direction - exact);
  const torch::Tensor far = (exact + steps.clamp_min(0).to(torch::kInt64)).clamp_max(per_direction - 1);
  const torch::Tensor bucket = torch::where(away < exact, away, far) + (distance > 0).to(torch::kInt64) * per_direction;
  // Row q holds the distances -q to length - 1 - q, a window of the row.
  return bucket.unfold(0, length, 1).flip(0).to(device);
}

T5PositionBias::T5PositionBias(const T5Config& config, const torch::TensorOptions& options)
    : num_buckets_(config.relative_attention_num_buckets), max_distance_(config.relative_attention_max_distance) {
  weight_ = register_parameter("weight", torch::empty({num_buckets_, config.num_heads}, options));
}

torch::Tensor T5PositionBias::forward(int64_t length) const {
  const torch::Tensor bucket_LL = relative_position_buckets(length, num_buckets_, max_distance_, weight_.device());
  return torch::embedding(weight_, bucket_LL).permute({2, 0, 1}).unsqueeze(0);
}

T5Attention::T5Attention(const T5Config& config, bool with_position_bias, const torch::TensorOptions& options)
    : num_heads_(config.num_heads) {
  const int64_t inner = config.num_heads * config.d_kv;
  q_ = register_module("q", std::make_shared<PlainLinear>(config.d_model, inner, false, options));
  k_ = register_module("k", std::make_shared<PlainLinear>(config.d_model, inner, false, options));
  v_ = register_module("v", std::make_shared<PlainLinear>(config.d_model, inner, false, options));
  o_ = register_module("o", std::make_shared<PlainLinear>(inner, config.d_model, false, options));
  if (with_position_bias) {
    position_bias = register_module("relative_attention_bias", std::make_shared<T5PositionBias>(config, options));
  }
}

torch::Tensor T5Attention::forward(const torch::Tensor& x_BLD, const torch::Tensor& bias_1HLL) const {
  const auto heads = [&](const PlainLinear& projection) {  // [B, H, L, K]
    return projection.forward(x_BLD).unflatten(-1, {num_heads_, -1}).transpose(1, 2);
  };
  // T5 does not divide by the square root of K: its initialisation did.
  const torch::Tensor attended_BHLK =
      at::scaled_dot_product_attention(heads(*q_), heads(*k_), heads(*v_), bias_1HLL, /*dropout_p=*/0.0,
                                       /*is_causal=*/false, /*scale=*/1.0);
  return o_->forward(attended_BHLK.transpose(1, 2).flatten(2));
}

T5FeedForward::T5FeedForward(const T5Config& config, const torch::TensorOptions& options) {
  const std::string& kind = config.feed_forward_proj;
  activation_ = kind == "relu"         ? Activation::kRelu
                : kind == "gated-gelu" ? Activation::kGeluTanh
                : kind == "gelu"       ? Activation::kGelu
                                       : Activation::kSilu;
  const auto linear = [&](const char* name, int64_t in, int64_t out) {
    return register_module(name, std::make_shared<PlainLinear>(in, out, false, options));
  };
  if (config.is_gated()) {
    in_ = linear("wi_0", config.d_model, config.d_ff);
    gated_in_ = linear("wi_1", config.d_model, config.d_ff);
  } else {
    in_ = linear("wi", config.d_model, config.d_ff);
  }
  out_ = linear("wo", config.d_ff, config.d_model);
}

torch::Tensor T5FeedForward::activate(const torch::Tensor& x) const {
  switch (activation_) {
    case Activation::kRelu:
      return torch::relu(x);
    case Activation::kGelu:
      return torch::gelu(x);
    case Activation::kGeluTanh:
      return torch::gelu(x, "tanh");
    case Activation::kSilu:
      return torch::silu(x);
  }
  return x;
}

torch::Tensor T5FeedForward::forward(const torch::Tensor& x_BLD) const {
  const torch::Tensor hidden = activate(in_->forward(x_BLD));
  return out_->forward(gated_in_ ? hidden * gated_in_->forward(x_BLD) : hidden);
}

T5Block::T5Block(const T5Config& config, bool with_position_bias, const torch::TensorOptions& options) {
  const auto norm = [&] { return std::make_shared<PlainRmsNorm>(config.d_model, config.layer_norm_epsilon, options); };
  const auto layers = register_module("layer", std::make_shared<Group>());
  const auto first = layers->register_module("0", std::make_shared<Group>());
  attention =
      first->register_module("SelfAttention", std::make_shared<T5Attention>(config, with_position_bias, options));
  attention_norm_ = first->register_module("layer_norm", norm());
  const auto second = layers->register_module("1", std::make_shared<Group>());
  feed_forward_ = second->register_module("DenseReluDense", std::make_shared<T5FeedForward>(config, options));
  feed_forward_norm_ = second->register_module("layer_norm", norm());
}

torch::Tensor T5Block::forward(torch::Tensor x_BLD, const torch::Tensor& bias_1HLL) const {
  x_BLD = x_BLD + attention->forward(attention_norm_->forward(x_BLD), bias_1HLL);
  return x_BLD + feed_forward_->forward(feed_forward_norm_->forward(x_BLD));
}

T5Encoder::T5Encoder(const T5Config& config, const torch::TensorOptions& options) : Module("T5"), config_(config) {
  shared_ = register_module("shared", std::make_shared<PlainEmbedding>(config.vocab_size, config.d_model, options));
  const auto encoder = register_module("encoder", std::make_shared<Group>());
  const auto block = encoder->register_module("block", std::make_shared<Group>());
  for (int64_t i = 0; i < config.num_layers; ++i) {
    blocks_.push_back(block->register_module(std::to_string(i), std::make_shared<T5Block>(config, i == 0, options)));
  }
  final_layer_norm_ = encoder->register_module(
      "final_layer_norm", std::make_shared<PlainRmsNorm>(config.d_model, config.layer_norm_epsilon, options));
}

torch::Tensor T5Encoder::forward(const torch::Tensor& input_ids_BL) const {
  check_token_ids("T5", input_ids_BL, config_.vocab_size);
  torch::Tensor x_BLD = shared_->forward(input_ids_BL);
  const torch::Tensor bias_1HLL = blocks_[0]->attention->position_bias->forward(input_ids_BL.size(1));
  for (const auto& block : blocks_) x_BLD = block->forward(x_BLD, bias_1HLL);
  return final_layer_norm_->forward(x_BLD);
}

}  // namespace millrace::t5
