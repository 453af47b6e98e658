// Pictures to latents and back: FLUX's autoencoder, or the pixels themselves.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "base/philox.h"

namespace millrace {

// The normal distribution of latents of each picture, [B, Z, h, w], neither scaled nor clamped.
struct PictureMoments {
  torch::Tensor mean_BZhw, logvar_BZhw;
};

class PictureCodec {
 public:
  virtual ~PictureCodec() = default;
  virtual int64_t channels() const = 0;
  virtual int64_t downscale() const = 0;  // pixels per latent, along one side

  // Scaled latents [B, Z, h, w], fp32, of pictures [B, 3, H, W] in -1..1. A stochastic codec draws from each sample's
  // random stream.
  virtual torch::Tensor encode(const torch::Tensor& image_BCHW, const std::vector<RandomStream>& streams) = 0;
  // The distribution that encode() draws from, and what it draws from it; ConfigError if there is no autoencoder.
  virtual PictureMoments moments(const torch::Tensor& image_BCHW) = 0;
  virtual torch::Tensor draw(const PictureMoments& moments, const std::vector<RandomStream>& streams) = 0;
  // The distribution from which draw() gives these scaled latents, whatever the streams.
  virtual PictureMoments moments_of(const torch::Tensor& latent_BZhw) = 0;
  // Pictures of scaled latents, not clamped.
  virtual torch::Tensor decode(const torch::Tensor& latent_BZhw) = 0;
};

// Latents are pixels.
std::unique_ptr<PictureCodec> pixel_codec();

struct AutoencoderCodecOptions {
  std::filesystem::path path;   // weights; empty: random ones, seeded, for tests
  std::optional<double> shift;  // default: the autoencoder's configuration
  std::optional<double> scale;
  torch::Dtype dtype = torch::kFloat32;
  torch::Device device = torch::kCPU;
};
// The posterior is sampled.
std::unique_ptr<PictureCodec> autoencoder_codec(const AutoencoderCodecOptions& options);

// scale * (mean + exp(logvar / 2) * eps - shift), fp32; mean and logvar [B, Z, h, w] of any dtype, eps from each
// sample's stream.
torch::Tensor sample_posterior(const torch::Tensor& mean_BZhw, const torch::Tensor& logvar_BZhw,
                               const std::vector<RandomStream>& streams, double shift, double scale);

}  // namespace millrace
