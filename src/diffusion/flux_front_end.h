// The frozen networks before FLUX, and their substitutes if the data is pre-encoded.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

#include "diffusion/flux_batch.h"
#include "diffusion/flux_run_config.h"
#include "diffusion/flux_setup.h"
#include "diffusion/picture_codec.h"
#include "models/flux/config.h"

namespace millrace {

struct FluxFrontEnd {
  std::unique_ptr<PictureCodec> codec;  // null: not loaded
  CaptionEncoders encoders;             // null: not loaded

  // For encoded data: how latents are scaled, and the empty prompt, which replaces dropped ones. bfloat16, on the
  // device; undefined if no prompt is ever dropped.
  double latent_shift = 0, latent_scale = 1;
  torch::Tensor empty_TX, empty_V;

  bool can_draw() const { return codec && encoders.tokens && encoders.pooled; }
};

// Gives the batch its captions and their encodings; for training, those of encoders that are trained are left to the
// training pass. On every rank, since the encoders' weights may be split over them.
void encode_captions(const CaptionEncoders& encoders, std::vector<std::string> captions, bool for_training,
                     FluxBatch& batch);

// encoder.autoencoder_shift and autoencoder_scale, or the values of FLUX's autoencoder.
void set_latent_scale(FluxFrontEnd& front_end, const EncoderConfig& encoder);
// The encodings of the empty prompt for encoded data: from encoder.empty_encodings_path, else from the encoders. Throws
// ConfigError if there are neither, DataError or ModelError if a file does not fit the model.
void load_empty_prompt(FluxFrontEnd& front_end, const FluxRunConfig& config, const flux::FluxConfig& sizes,
                       torch::Device device);

}  // namespace millrace
