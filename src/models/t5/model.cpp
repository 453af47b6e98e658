#include "models/t5/model.h"

#include <cmath>

#include "nn/attention.h"
#include "nn/linear_graph.h"
#include "nn/linear_rows.h"
#include "nn/token_ids.h"

namespace millrace::t5 {
namespace {

// An inner node of the module tree, which only provides its name.
struct Group : torch::nn::Module {};

}  // namespace

torch::Tensor relative_position_buckets(int64_t length, int64_t num_buckets, int64_t max_distance,
                                        const torch::Device& device) {
  const int64_t per_direction = num_buckets / 2;
  const int64_t exact = per_direction / 2;
  // The distance has only 2 * length - 1 values: one row of buckets holds them all. In fp32 on the CPU, step by step as
  // in transformers, so that no distance falls into the neighbouring bucket.
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

T5PositionBias::T5PositionBias(const T5Config& config)
    : num_buckets_(config.relative_attention_num_buckets), max_distance_(config.relative_attention_max_distance) {
  weight_ = register_parameter("weight", unplaced_parameter({num_buckets_, config.num_heads}), false);
}

torch::Tensor T5PositionBias::forward(int64_t length) const {
  const torch::Tensor bucket_LL = relative_position_buckets(length, num_buckets_, max_distance_, weight_.device());
  return torch::embedding(weight_, bucket_LL).permute({2, 0, 1}).unsqueeze(0).contiguous();
}

T5Attention::T5Attention(const T5Config& config, bool with_position_bias)
    : num_heads_(config.num_heads),
      q_(register_module("q", std::make_shared<Linear>(config.d_model, config.num_heads * config.d_kv, false))),
      k_(register_module("k", std::make_shared<Linear>(config.d_model, config.num_heads * config.d_kv, false))),
      v_(register_module("v", std::make_shared<Linear>(config.d_model, config.num_heads * config.d_kv, false))),
      o_(register_module("o", std::make_shared<Linear>(config.num_heads * config.d_kv, config.d_model, false))),
      qkv_({q_, k_, v_}) {
  if (with_position_bias) {
    position_bias = register_module("relative_attention_bias", std::make_shared<T5PositionBias>(config));
  }
}

torch::Tensor T5Attention::forward(const torch::Tensor& x_BLD, const T5Distances& distances,
                                   const torch::Tensor& residual_BLD) const {
  const auto heads = [&](const torch::Tensor& projected_BLN) {  // [B, H, L, K]
    return projected_BLN.unflatten(-1, {num_heads_, -1}).transpose(1, 2);
  };
  const std::vector<torch::Tensor> parts = qkv_.apply_each(x_BLD);
  const torch::Tensor q = heads(parts[0]), k = heads(parts[1]), v = heads(parts[2]);
  // T5 does not divide by the square root of K: its initialisation includes the factor.
  return o_->apply(biased_attention(q, k, v, distances.bias_1HLL, /*scale=*/1.0, distances.lengths), residual_BLD);
}

T5FeedForward::T5FeedForward(const T5Config& config) {
  const std::string& kind = config.feed_forward_proj;
  activation_ = kind == "relu"         ? Activation::kRelu
                : kind == "gated-gelu" ? Activation::kGeluTanh
                : kind == "gelu"       ? Activation::kGelu
                                       : Activation::kSilu;
  const auto linear = [&](const char* name, int64_t in, int64_t out) {
    return register_module(name, std::make_shared<Linear>(in, out, false));
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

torch::Tensor T5FeedForward::forward(const torch::Tensor& x_BLD, const torch::Tensor& residual_BLD) const {
  if (gated_in_ && activation_ == Activation::kGeluTanh) {
    const torch::Tensor weight_NK = in_->plain_weight(), gate_weight_NK = gated_in_->plain_weight();
    if (weight_NK.defined() && gate_weight_NK.defined()) {
      return out_->apply(gated_gelu_rows(x_BLD, weight_NK, gate_weight_NK), residual_BLD);
    }
  }
  const torch::Tensor hidden = activate(in_->apply(x_BLD));
  return out_->apply(gated_in_ ? hidden * gated_in_->apply(x_BLD) : hidden, residual_BLD);
}

T5Block::T5Block(const T5Config& config, bool with_position_bias) {
  const auto norm = [&] {
    return std::make_shared<PlainRmsNorm>(config.d_model, config.layer_norm_epsilon, kUnplaced);
  };
  const auto layers = register_module("layer", std::make_shared<Group>());
  const auto first = layers->register_module("0", std::make_shared<Group>());
  attention = first->register_module("SelfAttention", std::make_shared<T5Attention>(config, with_position_bias));
  attention_norm_ = first->register_module("layer_norm", norm());
  const auto second = layers->register_module("1", std::make_shared<Group>());
  feed_forward_ = second->register_module("DenseReluDense", std::make_shared<T5FeedForward>(config));
  feed_forward_norm_ = second->register_module("layer_norm", norm());
}

torch::Tensor T5Block::forward(torch::Tensor x_BLD, const T5Distances& distances) const {
  x_BLD = attention->forward(attention_norm_->forward(x_BLD), distances, x_BLD);
  return feed_forward_->forward(feed_forward_norm_->forward(x_BLD), x_BLD);
}

T5Encoder::T5Encoder(const T5Config& config, const FlatParametersOptions& placement)
    : FlatModel("T5"), config_(config) {
  shared_ = register_module("shared", std::make_shared<PlainEmbedding>(config.vocab_size, config.d_model, kUnplaced));
  std::vector<UnitSpec> units = {packed_unit("embedding", "shared.", *shared_)};
  const auto encoder = register_module("encoder", std::make_shared<Group>());
  const auto block = encoder->register_module("block", std::make_shared<Group>());
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const std::string name = std::to_string(i);
    blocks_.push_back(block->register_module(name, std::make_shared<T5Block>(config, i == 0)));
    units.push_back(packed_unit("block " + name, "encoder.block." + name + ".", *blocks_.back()));
  }
  final_layer_norm_ = encoder->register_module(
      "final_layer_norm", std::make_shared<PlainRmsNorm>(config.d_model, config.layer_norm_epsilon, kUnplaced));
  units.back().parameters.emplace_back("encoder.final_layer_norm.weight", final_layer_norm_->weight);
  flat_ = std::make_unique<FlatParameters>(std::move(units), placement);
}

// The final norm belongs to the last block's unit.
torch::Tensor T5Encoder::run_block(size_t block, const torch::Tensor& x_BLD, const T5Distances& distances) const {
  const torch::Tensor y_BLD = blocks_[block]->forward(x_BLD, distances);
  return block + 1 == blocks_.size() ? final_layer_norm_->forward(y_BLD) : y_BLD;
}

torch::Tensor T5Encoder::forward(const torch::Tensor& input_ids_BL, Saved* saved, const std::vector<int64_t>& lengths) {
  const torch::AutoGradMode with_graph(at::GradMode::is_enabled() && !saved);  // the backward pass makes its own
  if (saved) *saved = {};
  check_token_ids("T5", input_ids_BL, config_.vocab_size);
  torch::Tensor x_BLD;
  T5Distances distances = {{}, lengths};
  {
    const UnitUse use = flat_->forward_unit(0, saved != nullptr);
    x_BLD = shared_->forward(input_ids_BL);
  }
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const UnitUse use = flat_->forward_unit(i + 1, saved != nullptr);
    if (i == 0) distances.bias_1HLL = blocks_[0]->attention->position_bias->forward(input_ids_BL.size(1));
    if (saved) saved->inputs_BLD.push_back(x_BLD);
    x_BLD = run_block(i, x_BLD, distances);
  }
  if (saved) saved->distances = std::move(distances);
  return x_BLD;
}

void T5Encoder::backward(Saved& saved, const torch::Tensor& doutput_BLD) {
  torch::Tensor dx_BLD = doutput_BLD;
  for (size_t i = blocks_.size(); i-- > 0;) {
    const UnitUse use = flat_->backward_unit(i + 1);
    dx_BLD = recomputed_gradient([&](const torch::Tensor& x) { return run_block(i, x, saved.distances); },
                                 saved.inputs_BLD[i], dx_BLD);
    saved.inputs_BLD[i] = torch::Tensor();
  }
  const UnitUse use = flat_->backward_unit(0);  // collective; the embedding has no adapter
  saved = {};
}

}  // namespace millrace::t5
