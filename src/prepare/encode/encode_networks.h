// The frozen networks that encode samples, and their outputs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <torch/types.h>

#include "data/encoding_decoder.h"
#include "diffusion/flux_run_config.h"
#include "diffusion/flux_setup.h"
#include "diffusion/picture_codec.h"

namespace millrace {

struct EncodeNetworks {
  torch::Dtype dtype = torch::kFloat32;  // of their arithmetic
  torch::Device device = torch::kCPU;
  std::unique_ptr<PictureCodec> codec;
  flux::FluxConfig sizes;
  CaptionEncoders encoders;
};

// Throws ConfigError for an encoder that is not configured, ModelError for one that does not fit model.*.
void load_autoencoder(EncodeNetworks& networks, const FluxRunConfig& config);
void load_caption_encoders(EncodeNetworks& networks, const FluxRunConfig& config, Mesh* mesh);

// The shapes for one sample; known once the autoencoder is loaded.
EncodingShapes encoding_shapes(const EncodeNetworks& networks, const FluxRunConfig& config);

// Encodings of samples, bfloat16 on the CPU.
struct Encodings {
  torch::Tensor t5_BTX, clip_BV, mean_BZhw, logvar_BZhw;
};
// image_BCHW in -1..1, with one caption each. Throws ModelError if a result is not finite.
Encodings encode_samples(EncodeNetworks& networks, const std::vector<std::string>& captions,
                         const torch::Tensor& image_BCHW);
// For sharded weights, when this rank has no samples left: takes part in the other ranks' encode_samples().
void join_collectives(EncodeNetworks& networks);

}  // namespace millrace
