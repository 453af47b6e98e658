// From a batch to the model's prediction and its target; shared by training and validation.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "diffusion/flow_matching.h"
#include "diffusion/flux_batch.h"
#include "diffusion/flux_trainee.h"
#include "diffusion/options/flow_objective.h"
#include "models/flux/model.h"

namespace millrace {

struct FluxPrediction {
  torch::Tensor output_BIC;    // the model's
  torch::Tensor velocity_BIC;  // predicted: the output, or what objective.model_prediction_type makes of it
  torch::Tensor target_BIC;    // noise - latent; of preserved rows the frozen model's velocity
};

// What the samples of a batch are to be learnt from, apart from the samples.
struct FluxObjective {
  uint64_t seed = 0;
  int64_t patch_size = 2;
  FlowObjectiveConfig flow;
};

// The random numbers of a batch: fp32, of the latents' shape, and [B].
struct FluxDraws {
  torch::Tensor noise_BZhw;
  torch::Tensor t_B;               // times in [0, 1], 1 is noise
  torch::Tensor input_noise_BZhw;  // added to the noise of the model's input, not to the target's; undefined: none
};
// They belong to the samples, by seed and epoch; times and input noise as the objective says.
FluxDraws draw_for(const FluxBatch& batch, const FluxObjective& objective);

// saved: for a backward pass, else null.
FluxPrediction predict_velocity(FluxTrainee& trainee, const FluxBatch& batch, const FluxDraws& draws,
                                const FluxObjective& objective, Keep keep, flux::Flux::Saved* saved);
// At given times, without input noise: for validation.
FluxPrediction predict_velocity(FluxTrainee& trainee, const FluxBatch& batch, const torch::Tensor& t_B,
                                const FluxObjective& objective, Keep keep);

// Forward and backward of one microbatch, with dropout and at times that belong to its samples: adds to the gradients
// of what is trained those of `weight * sum of the samples' losses`, each times its factor. Returns the sum of the
// losses of the samples that count, without the weight: fp64, one element, on their device.
torch::Tensor train_on_batch(FluxTrainee& trainee, const FluxBatch& batch, const FluxObjective& objective, Keep keep,
                             double weight);
// The same with these draws.
torch::Tensor train_on_batch(FluxTrainee& trainee, const FluxBatch& batch, const FluxDraws& draws,
                             const FluxObjective& objective, Keep keep, double weight);

// How much each sample and each place of a batch counts, for predictions [B, I, C].
LossFactors loss_factors(const FluxBatch& batch, int64_t patch_size);

// The sum of the losses of the counted samples: fp64, one element, on their device.
torch::Tensor sum_of_samples(const torch::Tensor& per_sample_B, const FluxBatch& batch);

}  // namespace millrace
