// The frozen networks before FLUX, for plans: their memory and their computation.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "diffusion/flux_run_config.h"
#include "diffusion/trainable_encoder.h"

namespace millrace {

// An encoder whose weights may be split over the ranks, block by block.
struct SharableWeights {
  int64_t parameters = 0;
  int64_t largest_block = 0;  // gathered whole, together with the next one
  // Elements that a rank holds if `ranks` share them.
  int64_t held(int64_t ranks) const { return ranks == 1 ? parameters : parameters / ranks + 2 * largest_block; }
};

struct EncodersPlan {
  int64_t parameters = 0;  // of all of them
  SharableWeights t5, clip;
  int64_t activations_per_sample = 0;  // peak of live elements, the maximum over the networks
  double flops_per_sample = 0;         // forward
  int64_t latent_channels = 3;
  int64_t downscale = 1;           // pixels per latent, along one side
  std::vector<std::string> notes;  // which networks were assumed
};

// According to encoder.*. Missing files are assumed to be the published networks of FLUX.1: T5 v1.1 XXL's encoder, CLIP
// ViT-L/14's text model and FLUX's autoencoder. Without encoders the data is assumed to be preprocessed.
EncodersPlan plan_encoders(const FluxRunConfig& config);

// The encoders that the configuration trains adapters on, as trained_encoders() gives them, with shapes alone: their
// passes are not planned.
class PlannedEncoders {
 public:
  explicit PlannedEncoders(const FluxRunConfig& config);
  ~PlannedEncoders();
  std::vector<TrainedEncoder> trained(const FluxRunConfig& config) const;

 private:
  std::unique_ptr<TrainableEncoder> clip_, t5_;
};

}  // namespace millrace
