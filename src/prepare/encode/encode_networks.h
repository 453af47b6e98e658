// The frozen networks that samples are encoded with, and what comes out of them.
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

// Throws ConfigError for an encoder that is not named, ModelError for one that is not what model.* takes.
void load_autoencoder(EncodeNetworks& networks, const FluxRunConfig& config);
void load_caption_encoders(EncodeNetworks& networks, const FluxRunConfig& config, Mesh* mesh);

// Of one sample, once the autoencoder is there.
EncodingShapes encoding_shapes(const EncodeNetworks& networks, const FluxRunConfig& config);

// Encodings of samples, bfloat16 on the CPU.
struct Encodings {
  torch::Tensor t5_BTX, clip_BV, mean_BZhw, logvar_BZhw;
};
// image_BCHW in -1..1; there are as many captions. Throws ModelError where a number is not finite.
Encodings encode_samples(EncodeNetworks& networks, const std::vector<std::string>& captions,
                         const torch::Tensor& image_BCHW);
// Where weights are sharded and this rank has no samples left: takes part in the others' call of encode_samples().
void keep_company(EncodeNetworks& networks);

}  // namespace millrace
