// The parts shared by encoder and decoder.
#include "models/autoencoder/model.h"

namespace millrace::autoencoder {
namespace {

std::shared_ptr<PlainGroupNorm> group_norm(int64_t groups, int64_t channels, const torch::TensorOptions& options) {
  return std::make_shared<PlainGroupNorm>(groups, channels, kNormEps, options);
}

}  // namespace

ResidualBlock::ResidualBlock(int64_t in, int64_t out, int64_t groups, const torch::TensorOptions& options) {
  norm1_ = register_module("norm1", group_norm(groups, in, options));
  conv1_ = register_module("conv1", std::make_shared<PlainConv2d>(in, out, 3, 1, 1, options));
  norm2_ = register_module("norm2", group_norm(groups, out, options));
  conv2_ = register_module("conv2", std::make_shared<PlainConv2d>(out, out, 3, 1, 1, options));
  if (in != out) {
    nin_shortcut_ = register_module("nin_shortcut", std::make_shared<PlainConv2d>(in, out, 1, 1, 0, options));
  }
}

torch::Tensor ResidualBlock::forward(const torch::Tensor& x_BCHW) const {
  const torch::Tensor h_BCHW = norm_silu_conv(*norm1_, *conv1_, x_BCHW);
  return norm_silu_conv(*norm2_, *conv2_, h_BCHW, nin_shortcut_ ? nin_shortcut_->forward(x_BCHW) : x_BCHW);
}

AttentionBlock::AttentionBlock(int64_t channels, int64_t groups, const torch::TensorOptions& options) {
  const auto conv = [&](const char* name) {
    return register_module(name, std::make_shared<PlainConv2d>(channels, channels, 1, 1, 0, options));
  };
  norm_ = register_module("norm", group_norm(groups, channels, options));
  q_ = conv("q");
  k_ = conv("k");
  v_ = conv("v");
  proj_out_ = conv("proj_out");
}

torch::Tensor AttentionBlock::forward(const torch::Tensor& x_BCHW) const {
  const torch::Tensor normed_BCHW = norm_->forward(x_BCHW);
  const auto as_tokens = [&](const PlainConv2d& projection) {  // [B, 1, HW, C]
    const torch::Tensor tokens_BLC = projection.forward(normed_BCHW).flatten(2).transpose(1, 2);
    // A GPU's fused attention requires a contiguous last dimension; otherwise HW x HW scores are materialised.
    return (tokens_BLC.is_cpu() ? tokens_BLC : tokens_BLC.contiguous()).unsqueeze(1);
  };
  const torch::Tensor attended_B1LC = at::scaled_dot_product_attention(as_tokens(*q_), as_tokens(*k_), as_tokens(*v_));
  torch::Tensor attended_BCHW = attended_B1LC.squeeze(1).transpose(1, 2).reshape(x_BCHW.sizes());
  attended_BCHW = attended_BCHW.contiguous(x_BCHW.suggest_memory_format());
  return x_BCHW + proj_out_->forward(attended_BCHW);
}

Middle::Middle(int64_t channels, int64_t groups, const torch::TensorOptions& options) {
  block_1_ = register_module("block_1", std::make_shared<ResidualBlock>(channels, channels, groups, options));
  attn_1_ = register_module("attn_1", std::make_shared<AttentionBlock>(channels, groups, options));
  block_2_ = register_module("block_2", std::make_shared<ResidualBlock>(channels, channels, groups, options));
}

torch::Tensor Middle::forward(const torch::Tensor& x_BCHW) const {
  return block_2_->forward(attn_1_->forward(block_1_->forward(x_BCHW)));
}

}  // namespace millrace::autoencoder
