#include "diffusion/flow_matching.h"

#include "base/error.h"
#include "diffusion/timestep_sampling.h"
#include "kernels/philox_fill/philox_fill.h"
#include "nn/to_device.h"

namespace millrace {

std::vector<RandomStream> sample_streams(uint64_t seed, RandomPurpose purpose, const std::vector<uint32_t>& epochs,
                                         const std::vector<uint64_t>& sample_ids) {
  MILLRACE_CHECK(epochs.size() == sample_ids.size());
  std::vector<RandomStream> streams;
  for (size_t i = 0; i < epochs.size(); ++i) streams.push_back(random_stream(seed, purpose, epochs[i], sample_ids[i]));
  return streams;
}

torch::Tensor draw_timesteps(const FlowObjectiveConfig& objective, int64_t image_tokens, uint64_t seed,
                             const std::vector<uint32_t>& epochs, const std::vector<uint64_t>& sample_ids,
                             torch::Device device, const std::vector<double>& offsets) {
  const auto streams = sample_streams(seed, RandomPurpose::kTimestep, epochs, sample_ids);
  return copy_to_device(torch::tensor(sample_times(objective, streams, image_tokens, offsets), torch::kFloat32),
                        device);
}

torch::Tensor draw_noise(uint64_t seed, RandomPurpose purpose, const std::vector<uint32_t>& epochs,
                         const std::vector<uint64_t>& sample_ids, const torch::Tensor& like) {
  torch::Tensor noise = torch::empty(like.sizes(), like.options().dtype(torch::kFloat32));
  if (noise.is_meta()) return noise;  // planning
  philox_fill_normal(noise, sample_streams(seed, purpose, epochs, sample_ids));
  return noise;
}

torch::Tensor interpolate(const torch::Tensor& x0, const torch::Tensor& noise, const torch::Tensor& t_B) {
  std::vector<int64_t> shape(x0.dim(), 1);
  shape[0] = t_B.size(0);
  return at::lerp(x0.to(torch::kFloat32), noise.to(torch::kFloat32), t_B.to(torch::kFloat32).view(shape));
}

VelocityLoss velocity_loss(const torch::Tensor& prediction, const torch::Tensor& target, double weight,
                           const LossFactors& factors) {
  const torch::NoGradGuard no_grad;
  torch::Tensor difference = prediction.to(torch::kFloat32) - target.to(torch::kFloat32);
  const int64_t elements = difference.numel() / difference.size(0);
  torch::Tensor squares = difference.square();
  if (factors.element_BX.defined()) {
    squares.mul_(factors.element_BX);
    difference.mul_(factors.element_BX);
  }
  VelocityLoss loss;
  loss.per_sample_B = squares.flatten(1).mean(1);
  if (factors.sample_B.defined()) {
    std::vector<int64_t> shape(static_cast<size_t>(difference.dim()), 1);
    shape[0] = factors.sample_B.size(0);
    loss.per_sample_B.mul_(factors.sample_B);
    difference.mul_(factors.sample_B.view(shape));
  }
  loss.dprediction = difference.mul_(2.0 * weight / static_cast<double>(elements)).to(prediction.scalar_type());
  return loss;
}

}  // namespace millrace
