#include "tasks/flux/flux_validation.h"

#include <cmath>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "diffusion/flow_matching.h"
#include "nn/to_device.h"

namespace millrace {
namespace {

constexpr int64_t kTimesteps = kValidationTimesteps;

// Sums over all samples and ranks, exchanged in one all-reduce.
class Totals {
 public:
  explicit Totals(torch::Device device)
      : values_(torch::zeros({2 * kTimesteps + 1}, torch::dtype(torch::kFloat64).device(device))) {}

  // step_of_8_B: on the device.
  void add(const torch::Tensor& per_sample_B, const torch::Tensor& step_of_8_B, int64_t count) {
    // Sums of columns: index_add_ on a GPU would add in any order.
    const torch::Tensor all_steps_81 = at::arange(kTimesteps, step_of_8_B.options()).unsqueeze(1);
    const torch::Tensor is_of_step_8B = step_of_8_B.narrow(0, 0, count).unsqueeze(0).eq(all_steps_81);
    const torch::Tensor loss_8B = at::where(is_of_step_8B, per_sample_B.narrow(0, 0, count).to(torch::kFloat64), 0);
    values_.narrow(0, 0, kTimesteps).add_(loss_8B.sum(1));
    values_.narrow(0, kTimesteps, kTimesteps).add_(is_of_step_8B.sum(1));
  }
  void add_with_own_timestep(int64_t count) { own_timesteps_ += count; }

  void exchange(Mesh& mesh) {
    values_.narrow(0, 2 * kTimesteps, 1).fill_(static_cast<double>(own_timesteps_));
    mesh.data().all_reduce(values_).wait();
    values_ = values_.cpu();
    mesh.data().check();
  }
  double sum(int64_t step) const { return values_[step].item<double>(); }
  double count(int64_t step) const { return values_[kTimesteps + step].item<double>(); }
  int64_t own_timesteps() const { return static_cast<int64_t>(values_[2 * kTimesteps].item<double>()); }

 private:
  torch::Tensor values_;  // fp64: sums, counts, samples that carry a timestep
  int64_t own_timesteps_ = 0;
};

[[noreturn]] void throw_mixed(const std::string& name, int64_t with, int64_t total, bool needed) {
  throw DataError(str("[", name, "] expected a timestep of 0 to 7 with every sample", needed ? "" : " or with none",
                      ", got ", with, " of ", total, " with one",
                      with == 0 ? " (`millrace prepare coco` writes them; validation.dataset = \"webdataset\" or "
                                  "\"preprocessed\" numbers samples in their order)"
                                : ""));
}

}  // namespace

ValidationResult validate_flux(FluxTrainee& trainee, FluxBatchSource& batches, Mesh& mesh,
                               const FluxValidationOptions& options) {
  const torch::NoGradGuard no_grad;
  const torch::Device device = trainee.model().flat_parameters().compute().device();
  Totals totals(device);
  int64_t index = 0;
  for (int64_t step = 0; options.max_batches < 0 || step < options.max_batches; ++step) {
    const FluxBatch batch = batches.next();
    if (batch.end_of_data) break;
    for (int64_t i = 0; i < batch.num_samples; ++i) {
      totals.add_with_own_timestep(batch.timesteps[static_cast<size_t>(i)] >= 0 ? 1 : 0);
    }
    for (int64_t pass = 0; pass < (options.all_timesteps ? kTimesteps : 1); ++pass) {
      std::vector<int64_t> steps;
      for (size_t i = 0; i < batch.rows.size(); ++i) {
        const int64_t own = batch.timesteps[i] >= 0 ? batch.timesteps[i] : (index + batch.rows[i]) % kTimesteps;
        steps.push_back(options.all_timesteps ? pass : own);
      }
      const torch::Tensor step_of_8_B = copy_to_device(torch::tensor(steps), device);
      const FluxPrediction prediction = predict_velocity(trainee, batch, step_of_8_B.to(torch::kFloat32) / kTimesteps,
                                                         options.objective, Keep::kInputs);
      const VelocityLoss loss = velocity_loss(prediction.velocity_BIC, prediction.target_BIC, 1,
                                              loss_factors(batch, options.objective.patch_size));
      totals.add(loss.per_sample_B, step_of_8_B, batch.num_samples);
    }
    index += batch.global_rows;
  }
  totals.exchange(mesh);

  ValidationResult result;
  LossBreakdown per_timestep{.name = "timestep", .values = {}};
  double total = 0, sum_of_means = 0;
  int64_t steps_with_samples = 0;
  for (int64_t step = 0; step < kTimesteps; ++step) {
    const double count = totals.count(step);
    total += count;
    per_timestep.values.push_back(count > 0 ? totals.sum(step) / count : std::numeric_limits<double>::quiet_NaN());
    if (count == 0) continue;
    sum_of_means += per_timestep.values.back();
    ++steps_with_samples;
  }
  result.num_samples = static_cast<int64_t>(total) / (options.all_timesteps ? kTimesteps : 1);
  if (result.num_samples == 0) {
    throw DataError("[" + options.data_name + "] expected samples to validate on, got none");
  }
  const int64_t with = totals.own_timesteps();
  const bool all = with == result.num_samples;
  if (!options.all_timesteps && !all && (with > 0 || options.needs_timesteps)) {
    throw_mixed(options.data_name, with, result.num_samples, options.needs_timesteps);
  }
  result.loss = sum_of_means / static_cast<double>(steps_with_samples);
  result.breakdowns.push_back(std::move(per_timestep));
  return result;
}

}  // namespace millrace
