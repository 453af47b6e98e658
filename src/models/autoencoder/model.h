// FLUX's autoencoder: Stable Diffusion's convolutional one (Rombach et al. 2022, arXiv:2112.10752) with 16 latent
// channels and without the 1x1 convolutions around the latent. Names are Black Forest's (flux/modules/autoencoder.py).
//
// Shape letters: B batch, C channels, H W picture, h w latent (H and W over 2^(levels - 1)), Z latent_channels.
#pragma once

#include <memory>
#include <vector>

#include <torch/nn/module.h>
#include <torch/types.h>

#include "models/autoencoder/config.h"
#include "nn/plain_layers.h"

namespace millrace::autoencoder {

// The normal distribution of a picture's latents. Neither scaled nor clamped.
struct Moments {
  torch::Tensor mean_BZhw;
  torch::Tensor logvar_BZhw;
};

struct ResidualBlock : torch::nn::Module {
  ResidualBlock(int64_t in, int64_t out, int64_t groups, const torch::TensorOptions& options);
  torch::Tensor forward(const torch::Tensor& x_BCHW) const;

 private:
  std::shared_ptr<PlainGroupNorm> norm1_, norm2_;
  std::shared_ptr<PlainConv2d> conv1_, conv2_;
  std::shared_ptr<PlainConv2d> nin_shortcut_;  // where the channels change
};

// Every position of the picture attends to every other, with one head as wide as the channels.
struct AttentionBlock : torch::nn::Module {
  AttentionBlock(int64_t channels, int64_t groups, const torch::TensorOptions& options);
  torch::Tensor forward(const torch::Tensor& x_BCHW) const;

 private:
  std::shared_ptr<PlainGroupNorm> norm_;
  std::shared_ptr<PlainConv2d> q_, k_, v_, proj_out_;
};

struct Middle : torch::nn::Module {
  Middle(int64_t channels, int64_t groups, const torch::TensorOptions& options);
  torch::Tensor forward(const torch::Tensor& x_BCHW) const;

 private:
  std::shared_ptr<ResidualBlock> block_1_, block_2_;
  std::shared_ptr<AttentionBlock> attn_1_;
};

// One resolution: residual blocks, then the resampling, if any.
struct Level : torch::nn::Module {
  std::vector<std::shared_ptr<ResidualBlock>> blocks;
  std::shared_ptr<PlainConv2d> resample;
};

struct Encoder : torch::nn::Module {
  Encoder(const AutoencoderConfig& config, const torch::TensorOptions& options);
  torch::Tensor forward(const torch::Tensor& image_BCHW) const;  // [B, 2 Z, h, w]: mean, then logvar

 private:
  std::shared_ptr<PlainConv2d> conv_in_, conv_out_;
  std::vector<std::shared_ptr<Level>> down_;
  std::shared_ptr<Middle> mid_;
  std::shared_ptr<PlainGroupNorm> norm_out_;
};

struct Decoder : torch::nn::Module {
  Decoder(const AutoencoderConfig& config, const torch::TensorOptions& options);
  torch::Tensor forward(const torch::Tensor& latent_BZhw) const;  // [B, out_channels, H, W]

 private:
  std::shared_ptr<PlainConv2d> conv_in_, conv_out_;
  std::shared_ptr<Middle> mid_;
  std::vector<std::shared_ptr<Level>> up_;  // by resolution, finest first; used from the last to the first
  std::shared_ptr<PlainGroupNorm> norm_out_;
};

class Autoencoder : public torch::nn::Module {
 public:
  Autoencoder(const AutoencoderConfig& config, const torch::TensorOptions& options);

  // image_BCHW in -1..1, H and W multiples of config().downscale(); ModelError otherwise.
  Moments encode(const torch::Tensor& image_BCHW) const;
  // latent_BZhw as returned by encode, unscaled. Values of the picture are not clamped to -1..1.
  torch::Tensor decode(const torch::Tensor& latent_BZhw) const;
  const AutoencoderConfig& config() const { return config_; }

 private:
  AutoencoderConfig config_;
  std::shared_ptr<Encoder> encoder_;
  std::shared_ptr<Decoder> decoder_;
};

}  // namespace millrace::autoencoder
