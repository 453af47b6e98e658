#include "diffusion/flux_objective.h"

#include "diffusion/flow_matching.h"
#include "diffusion/latents.h"

namespace millrace {

FluxPrediction predict_velocity(flux::Flux& model, const FluxBatch& batch, const torch::Tensor& t_B, uint64_t seed,
                                int64_t patch_size, Keep keep, flux::Flux::Saved* saved) {
  const torch::Tensor& x0 = batch.latent_BZhw;
  const torch::Tensor noise = draw_noise(seed, RandomPurpose::kNoise, batch.epochs, batch.sample_ids, x0);
  flux::FluxInputs inputs;
  inputs.img_BIC = pack_patches(interpolate(x0, noise, t_B), patch_size);
  inputs.img_ids_BIA = image_ids(x0.size(2) / patch_size, x0.size(3) / patch_size, x0.device());
  inputs.txt_BTX = batch.txt_BTX;
  inputs.txt_ids_BTA = text_ids(batch.txt_BTX.size(1), x0.device());
  inputs.timesteps_B = t_B;
  inputs.y_BV = batch.y_BV;
  // FLUX.1-dev's distilled guidance is an ordinary input; 1 corresponds to an undistilled model.
  if (model.config().guidance_embed) inputs.guidance_B = torch::ones_like(t_B);
  return {model.forward(inputs, saved, keep), pack_patches(noise - x0, patch_size)};
}

torch::Tensor train_on_batch(flux::Flux& model, const FluxBatch& batch, uint64_t seed, int64_t patch_size, Keep keep,
                             double weight) {
  flux::Flux::Saved saved;
  const torch::Tensor t_B = draw_timesteps(seed, batch.epochs, batch.sample_ids, batch.latent_BZhw.device());
  const FluxPrediction prediction = predict_velocity(model, batch, t_B, seed, patch_size, keep, &saved);
  const VelocityLoss loss = velocity_loss(prediction.velocity_BIC, prediction.target_BIC, weight);
  model.backward(saved, loss.dprediction);
  return sum_of_samples(loss.per_sample_B, batch);
}

torch::Tensor sum_of_samples(const torch::Tensor& per_sample_B, const FluxBatch& batch) {
  return per_sample_B.narrow(0, 0, batch.num_samples).sum(torch::kFloat64).view({1});
}

}  // namespace millrace
