// From a batch to the model's prediction and its target; shared by training and validation.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "diffusion/flux_batches.h"
#include "models/flux/model.h"

namespace millrace {

struct FluxPrediction {
  torch::Tensor velocity_BIC;  // predicted
  torch::Tensor target_BIC;    // noise - latent
};

// Noise belongs to the sample, by seed and epoch. t_B: times in [0, 1). saved: for a backward pass, else null.
FluxPrediction predict_velocity(flux::Flux& model, const FluxBatch& batch, const torch::Tensor& t_B, uint64_t seed,
                                int64_t patch_size, Keep keep, flux::Flux::Saved* saved);

// Forward and backward of one microbatch, at its samples' timesteps: adds the gradients of `weight * sum of the
// samples' losses` to the model's. Returns the sum of the losses of the counted samples, without the weight:
// fp64, one element, on their device.
torch::Tensor train_on_batch(flux::Flux& model, const FluxBatch& batch, uint64_t seed, int64_t patch_size, Keep keep,
                             double weight);

// The sum of the losses of the counted samples: fp64, one element, on their device.
torch::Tensor sum_of_samples(const torch::Tensor& per_sample_B, const FluxBatch& batch);

}  // namespace millrace
