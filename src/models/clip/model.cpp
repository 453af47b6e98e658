#include "models/clip/model.h"

#include "base/error.h"
#include "nn/linear_graph.h"
#include "nn/token_ids.h"

namespace millrace::clip {
namespace {

// An inner node of the module tree, which only provides its name.
struct Group : torch::nn::Module {};

}  // namespace

ClipAttention::ClipAttention(const ClipConfig& config)
    : num_heads_(config.num_attention_heads),
      q_proj_(register_module("q_proj", std::make_shared<Linear>(config.hidden_size, config.hidden_size))),
      k_proj_(register_module("k_proj", std::make_shared<Linear>(config.hidden_size, config.hidden_size))),
      v_proj_(register_module("v_proj", std::make_shared<Linear>(config.hidden_size, config.hidden_size))),
      out_proj_(register_module("out_proj", std::make_shared<Linear>(config.hidden_size, config.hidden_size))),
      qkv_({q_proj_, k_proj_, v_proj_}) {}

torch::Tensor ClipAttention::forward(const torch::Tensor& x_BLD) const {
  const auto heads = [&](const torch::Tensor& projected_BLD) {  // [B, H, L, K]
    return projected_BLD.unflatten(-1, {num_heads_, -1}).transpose(1, 2);
  };
  const std::vector<torch::Tensor> parts = qkv_.apply_each(x_BLD);
  const torch::Tensor q = heads(parts[0]), k = heads(parts[1]), v = heads(parts[2]);
  const torch::Tensor attended_BHLK =
      at::scaled_dot_product_attention(q, k, v, {}, /*dropout_p=*/0.0, /*is_causal=*/true);
  return out_proj_->apply(attended_BHLK.transpose(1, 2).flatten(2));
}

ClipMlp::ClipMlp(const ClipConfig& config) : quick_gelu_(config.hidden_act == "quick_gelu") {
  fc1_ = register_module("fc1", std::make_shared<Linear>(config.hidden_size, config.intermediate_size));
  fc2_ = register_module("fc2", std::make_shared<Linear>(config.intermediate_size, config.hidden_size));
}

torch::Tensor ClipMlp::forward(const torch::Tensor& x_BLD) const {
  const torch::Tensor hidden = fc1_->apply(x_BLD);
  // 1.702: the sigmoid's slope that best approximates GELU (Hendrycks and Gimpel 2016, section 2).
  return fc2_->apply(quick_gelu_ ? hidden * torch::sigmoid(1.702 * hidden) : torch::gelu(hidden));
}

ClipLayer::ClipLayer(const ClipConfig& config) {
  const auto norm = [&] {
    return std::make_shared<PlainLayerNorm>(config.hidden_size, config.layer_norm_eps, kUnplaced);
  };
  self_attn_ = register_module("self_attn", std::make_shared<ClipAttention>(config));
  layer_norm1_ = register_module("layer_norm1", norm());
  mlp_ = register_module("mlp", std::make_shared<ClipMlp>(config));
  layer_norm2_ = register_module("layer_norm2", norm());
}

torch::Tensor ClipLayer::forward(torch::Tensor x_BLD) const {
  x_BLD = x_BLD + self_attn_->forward(layer_norm1_->forward(x_BLD));
  return x_BLD + mlp_->forward(layer_norm2_->forward(x_BLD));
}

Clip::Clip(const ClipConfig& config, const FlatParametersOptions& placement) : FlatModel("CLIP"), config_(config) {
  const auto text_model = register_module("text_model", std::make_shared<Group>());
  const auto embeddings = text_model->register_module("embeddings", std::make_shared<Group>());
  token_embedding_ = embeddings->register_module(
      "token_embedding", std::make_shared<PlainEmbedding>(config.vocab_size, config.hidden_size, kUnplaced));
  position_embedding_ = embeddings->register_module(
      "position_embedding",
      std::make_shared<PlainEmbedding>(config.max_position_embeddings, config.hidden_size, kUnplaced));
  std::vector<UnitSpec> units = {packed_unit("embeddings", "text_model.embeddings.", *embeddings)};
  const auto encoder = text_model->register_module("encoder", std::make_shared<Group>());
  const auto layers = encoder->register_module("layers", std::make_shared<Group>());
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const std::string name = std::to_string(i);
    layers_.push_back(layers->register_module(name, std::make_shared<ClipLayer>(config)));
    units.push_back(packed_unit("layer " + name, "text_model.encoder.layers." + name + ".", *layers_.back()));
  }
  final_layer_norm_ = text_model->register_module(
      "final_layer_norm", std::make_shared<PlainLayerNorm>(config.hidden_size, config.layer_norm_eps, kUnplaced));
  for (const auto& item : final_layer_norm_->named_parameters()) {
    units.back().parameters.emplace_back("text_model.final_layer_norm." + item.key(), item.value());
  }
  flat_ = std::make_unique<FlatParameters>(std::move(units), placement);
}

// The final norm belongs to the last layer's unit.
torch::Tensor Clip::run_layer(size_t layer, const torch::Tensor& x_BLD) const {
  const torch::Tensor y_BLD = layers_[layer]->forward(x_BLD);
  return layer + 1 == layers_.size() ? final_layer_norm_->forward(y_BLD) : y_BLD;
}

ClipOutput Clip::forward(const torch::Tensor& input_ids_BL, Saved* saved) {
  const torch::AutoGradMode with_graph(at::GradMode::is_enabled() && !saved);  // the backward pass makes its own
  if (saved) *saved = {};
  check_token_ids("CLIP", input_ids_BL, config_.vocab_size);
  const int64_t length = input_ids_BL.size(1);
  if (length > config_.max_position_embeddings) {
    throw ModelError("[CLIP: input_ids] expected at most " + std::to_string(config_.max_position_embeddings) +
                     " tokens, got " + std::to_string(length));
  }
  torch::Tensor x_BLD;
  {
    const UnitUse use = flat_->forward_unit(0, saved != nullptr);
    x_BLD = token_embedding_->forward(input_ids_BL) + position_embedding_->weight.narrow(0, 0, length);
  }
  for (size_t i = 0; i < layers_.size(); ++i) {
    const UnitUse use = flat_->forward_unit(i + 1, saved != nullptr);
    if (saved) saved->inputs_BLD.push_back(x_BLD);
    x_BLD = run_layer(i, x_BLD);
  }

  // The first of several equal ids wins in both rules; a text without end-of-text token is described by its first
  // token, as in transformers.
  const torch::Tensor score_BL =
      config_.eos_token_id == 2 ? input_ids_BL : (input_ids_BL == config_.eos_token_id).to(torch::kInt64);
  const torch::Tensor position_B = score_BL.argmax(1);
  const torch::Tensor index_B1D = position_B.view({-1, 1, 1}).expand({-1, 1, x_BLD.size(2)});
  if (saved) saved->index_B1D = index_B1D;
  return {x_BLD.gather(1, index_B1D).squeeze(1), x_BLD};
}

void Clip::backward(Saved& saved, const torch::Tensor& dpooled_BD) {
  const torch::Tensor& last_BLD = saved.inputs_BLD.back();
  torch::Tensor dx_BLD = torch::zeros_like(last_BLD);
  dx_BLD.scatter_(1, saved.index_B1D, dpooled_BD.to(last_BLD.scalar_type()).unsqueeze(1));
  for (size_t i = layers_.size(); i-- > 0;) {
    const UnitUse use = flat_->backward_unit(i + 1);
    dx_BLD = recomputed_gradient([&](const torch::Tensor& x) { return run_layer(i, x); }, saved.inputs_BLD[i], dx_BLD);
    saved.inputs_BLD[i] = torch::Tensor();
  }
  const UnitUse use = flat_->backward_unit(0);  // collective; the embeddings have no adapters
  saved = {};
}

}  // namespace millrace::clip
