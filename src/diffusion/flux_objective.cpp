#include "diffusion/flux_objective.h"

#include <algorithm>

#include "base/files.h"
#include "diffusion/flow_loss.h"
#include "diffusion/flow_matching.h"
#include "diffusion/latents.h"

namespace millrace {
namespace {

// Ends the dropout also where a pass throws.
class TrainingPass {
 public:
  TrainingPass(FluxTrainee& trainee, uint64_t seed, const FluxBatch& batch) : trainee_(trainee) {
    trainee_.start_training_pass(seed, batch);
  }
  ~TrainingPass() { trainee_.end_training_pass(); }
  TrainingPass(const TrainingPass&) = delete;
  TrainingPass& operator=(const TrainingPass&) = delete;

 private:
  FluxTrainee& trainee_;
};

// Numbers apart from those of the same purpose for noise and times.
uint64_t input_noise_seed(uint64_t seed) {
  constexpr std::string_view kName = "input noise";
  return mix64(seed ^ checksum64(kName.data(), kName.size()));
}

torch::Tensor draw_input_noise(const FluxBatch& batch, const FluxObjective& objective) {
  const torch::Tensor& x0 = batch.latent_BZhw;
  const uint64_t seed = input_noise_seed(objective.seed);
  torch::Tensor noise = draw_noise(seed, RandomPurpose::kNoise, batch.epochs, batch.sample_ids, x0);
  noise.mul_(*objective.flow.ip_noise_gamma);
  if (!objective.flow.ip_noise_gamma_random_strength || noise.is_meta()) return noise;
  std::vector<float> strengths;
  for (const RandomStream& stream : sample_streams(seed, RandomPurpose::kTimestep, batch.epochs, batch.sample_ids)) {
    strengths.push_back(random_uniform(stream, 0));
  }
  return noise.mul_(torch::tensor(strengths, torch::kFloat32).to(noise.device()).view({-1, 1, 1, 1}));
}

}  // namespace

FluxDraws draw_for(const FluxBatch& batch, const FluxObjective& objective) {
  const torch::Tensor& x0 = batch.latent_BZhw;
  const int64_t image_tokens = x0.size(2) * x0.size(3) / (objective.patch_size * objective.patch_size);
  FluxDraws draws;
  draws.noise_BZhw = draw_noise(objective.seed, RandomPurpose::kNoise, batch.epochs, batch.sample_ids, x0);
  draws.t_B = draw_timesteps(objective.flow, image_tokens, objective.seed, batch.epochs, batch.sample_ids, x0.device(),
                             batch.time_offsets);
  if (objective.flow.ip_noise_gamma) draws.input_noise_BZhw = draw_input_noise(batch, objective);
  return draws;
}

FluxPrediction predict_velocity(FluxTrainee& trainee, const FluxBatch& batch, const FluxDraws& draws,
                                const FluxObjective& objective, Keep keep, flux::Flux::Saved* saved) {
  const torch::Tensor& x0 = batch.latent_BZhw;
  const int64_t patch = objective.patch_size;
  const torch::Tensor& noise = draws.noise_BZhw;
  const torch::Tensor input_noise = draws.input_noise_BZhw.defined() ? noise + draws.input_noise_BZhw : noise;
  flux::FluxInputs inputs;
  inputs.img_BIC = pack_patches(interpolate(x0, input_noise, draws.t_B), patch);
  inputs.img_ids_BIA = image_ids(x0.size(2) / patch, x0.size(3) / patch, x0.device());
  inputs.txt_BTX = batch.txt_BTX;
  if (batch.txt_BTX.defined()) {
    // Tokens that are masked padding in every sample need not be computed.
    if (!batch.text_lengths.empty() && !trainee.draws_by_place()) {
      const int64_t longest = *std::max_element(batch.text_lengths.begin(), batch.text_lengths.end());
      inputs.txt_BTX = batch.txt_BTX.narrow(1, 0, std::max<int64_t>(1, longest));
    }
    inputs.txt_ids_BTA = text_ids(inputs.txt_BTX.size(1), x0.device());
  }
  inputs.timesteps_B = draws.t_B;
  inputs.text_lengths = batch.text_lengths;
  inputs.y_BV = batch.y_BV;
  // FLUX.1-dev's distilled guidance is an ordinary input; 1 corresponds to an undistilled model.
  if (trainee.model().config().guidance_embed) {
    inputs.guidance_B = torch::full_like(draws.t_B, objective.flow.guidance_scale.value_or(1));
  }
  FluxPrediction prediction;
  prediction.target_BIC = pack_patches(noise - x0, patch);
  if (batch.preserves_any) {
    // A rank without such a row runs one all the same.
    const std::vector<int64_t> rows = batch.preserved_rows.empty() ? std::vector<int64_t>{0} : batch.preserved_rows;
    const torch::Tensor index = torch::tensor(rows, torch::kInt64).to(x0.device());
    const torch::Tensor frozen =
        prediction_of(objective.flow.model_prediction_type, trainee.frozen_forward(inputs, rows),
                      inputs.img_BIC.index_select(0, index), draws.t_B.index_select(0, index));
    if (!batch.preserved_rows.empty()) prediction.target_BIC.index_copy_(0, index, frozen.to(torch::kFloat32));
  }
  prediction.output_BIC = trainee.forward(inputs, saved, keep);
  prediction.velocity_BIC =
      prediction_of(objective.flow.model_prediction_type, prediction.output_BIC, inputs.img_BIC, draws.t_B);
  return prediction;
}

FluxPrediction predict_velocity(FluxTrainee& trainee, const FluxBatch& batch, const torch::Tensor& t_B,
                                const FluxObjective& objective, Keep keep) {
  const torch::Tensor noise =
      draw_noise(objective.seed, RandomPurpose::kNoise, batch.epochs, batch.sample_ids, batch.latent_BZhw);
  return predict_velocity(trainee, batch, {noise, t_B, {}}, objective, keep, nullptr);
}

torch::Tensor train_on_batch(FluxTrainee& trainee, const FluxBatch& batch, const FluxDraws& draws,
                             const FluxObjective& objective, Keep keep, double weight) {
  const TrainingPass pass(trainee, objective.seed, batch);
  flux::Flux::Saved saved;
  const FluxPrediction prediction = predict_velocity(trainee, batch, draws, objective, keep, &saved);
  const FlowLoss loss = flow_loss(objective.flow, prediction.velocity_BIC, prediction.target_BIC, draws.t_B, weight,
                                  prediction.output_BIC.scalar_type(), loss_factors(batch, objective.patch_size));
  trainee.backward(saved, loss.doutput_BIC);
  return sum_of_samples(loss.per_sample_B, batch);
}

torch::Tensor train_on_batch(FluxTrainee& trainee, const FluxBatch& batch, const FluxObjective& objective, Keep keep,
                             double weight) {
  return train_on_batch(trainee, batch, draw_for(batch, objective), objective, keep, weight);
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
