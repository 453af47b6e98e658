#include "diffusion/flux_objective.h"

#include "diffusion/latents.h"

namespace millrace {

FluxPrediction predict_velocity(FluxTrainee& trainee, const FluxBatch& batch, const torch::Tensor& t_B,
                                const FluxObjective& objective, Keep keep, flux::Flux::Saved* saved) {
  const torch::Tensor& x0 = batch.latent_BZhw;
  const int64_t patch = objective.patch_size;
  const torch::Tensor noise = draw_noise(objective.seed, RandomPurpose::kNoise, batch.epochs, batch.sample_ids, x0);
  flux::FluxInputs inputs;
  inputs.img_BIC = pack_patches(interpolate(x0, noise, t_B), patch);
  inputs.img_ids_BIA = image_ids(x0.size(2) / patch, x0.size(3) / patch, x0.device());
  inputs.txt_BTX = batch.txt_BTX;
  inputs.txt_ids_BTA = text_ids(batch.txt_BTX.size(1), x0.device());
  inputs.timesteps_B = t_B;
  inputs.y_BV = batch.y_BV;
  // FLUX.1-dev's distilled guidance is an ordinary input; 1 corresponds to an undistilled model.
  if (trainee.model().config().guidance_embed) inputs.guidance_B = torch::full_like(t_B, objective.flow.guidance_scale);
  return {trainee.forward(inputs, saved, keep), pack_patches(noise - x0, patch)};
}

torch::Tensor train_on_batch(FluxTrainee& trainee, const FluxBatch& batch, const FluxObjective& objective, Keep keep,
                             double weight) {
  flux::Flux::Saved saved;
  const torch::Tensor& x0 = batch.latent_BZhw;
  const int64_t image_tokens = x0.size(2) * x0.size(3) / (objective.patch_size * objective.patch_size);
  const torch::Tensor t_B =
      draw_timesteps(objective.flow, image_tokens, objective.seed, batch.epochs, batch.sample_ids, x0.device());
  const FluxPrediction prediction = predict_velocity(trainee, batch, t_B, objective, keep, &saved);
  const VelocityLoss loss =
      velocity_loss(prediction.velocity_BIC, prediction.target_BIC, weight, loss_factors(batch, objective.patch_size));
  trainee.backward(saved, loss.dprediction);
  return sum_of_samples(loss.per_sample_B, batch);
}

LossFactors loss_factors(const FluxBatch& batch, int64_t patch_size) {
  LossFactors factors{.sample_B = batch.weight_B, .element_BX = {}};
  if (batch.mask_B1hw.defined()) {
    factors.element_BX = pack_patches(batch.mask_B1hw.expand(batch.latent_BZhw.sizes()), patch_size);
  }
  return factors;
}

torch::Tensor sum_of_samples(const torch::Tensor& per_sample_B, const FluxBatch& batch) {
  return per_sample_B.narrow(0, 0, batch.num_samples).sum(torch::kFloat64).view({1});
}

}  // namespace millrace
