// The frozen networks before FLUX, for plans: what they take and what they compute.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "diffusion/flux_run_config.h"

namespace millrace {

// An encoder whose weights the ranks may share out, block by block.
struct SharableWeights {
  int64_t parameters = 0;
  int64_t largest_block = 0;  // gathered whole; the next one as well
  // Elements that a rank holds where `ranks` share them.
  int64_t held(int64_t ranks) const { return ranks == 1 ? parameters : parameters / ranks + 2 * largest_block; }
};

struct EncodersPlan {
  int64_t parameters = 0;  // of all of them
  SharableWeights t5, clip;
  int64_t activations_per_sample = 0;  // elements alive at once in the hungriest of them
  double flops_per_sample = 0;         // forward
  int64_t latent_channels = 3;
  int64_t downscale = 1;           // pixels per latent, along one side
  std::vector<std::string> notes;  // which networks were assumed
};

// As encoder.* says. Files that are not there are taken for the published networks of FLUX.1: T5 v1.1 XXL's encoder,
// CLIP ViT-L/14's text model and FLUX's autoencoder. Without encoders the data is taken to be preprocessed.
EncodersPlan plan_encoders(const FluxRunConfig& config);

}  // namespace millrace
