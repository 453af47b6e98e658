// From the configuration to FLUX and the networks around it; shared by training, `sample` and `evaluate`.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <memory>
#include <string>

#include "diffusion/caption_encoder.h"
#include "diffusion/flux_run_config.h"
#include "diffusion/picture_codec.h"
#include "models/flux/model.h"

namespace millrace {

// The flavor's sizes with the configuration's on top. codec_channels: channels of the latent.
flux::FluxConfig flux_config(const FluxRunConfig& config, int64_t codec_channels);
int64_t patch_size(const FluxRunConfig& config);  // 2 unless set

// The dtype of the autoencoder's arithmetic if everything else computes in dtype.
torch::Dtype autoencoder_dtype(torch::Dtype dtype, torch::Device device);
std::unique_ptr<PictureCodec> make_picture_codec(const FluxRunConfig& config, torch::Dtype dtype, torch::Device device);

// Where a cache on disk lies: encoder.cache_folder, or `name` in the run's folder.
std::filesystem::path cache_folder(const FluxRunConfig& config, const std::string& name);

// The two encodings that FLUX takes, cached as the configuration says: never those of an encoder that is trained.
struct CaptionEncoders {
  std::unique_ptr<CaptionEncoder> tokens;  // [B, T, X]
  std::unique_ptr<CaptionEncoder> pooled;  // [B, V]
};
// mesh: T5 and CLIP are sharded over its shard axis, according to encoder.shard; null: one rank.
CaptionEncoders make_caption_encoders(const FluxRunConfig& config, const flux::FluxConfig& sizes, torch::Dtype dtype,
                                      torch::Device device, Mesh* mesh = nullptr);

}  // namespace millrace
