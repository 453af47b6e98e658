// The flow-matching objective of FLUX training (Lipman et al., arXiv 2210.02747; rectified flow, arXiv 2209.03003).
//
// x_t = (1 - t) x_0 + t eps, and the model predicts the velocity eps - x_0. All draws belong to the sample: they depend
// only on (seed, sample id, epoch).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "base/philox.h"
#include "diffusion/options/flow_objective.h"

namespace millrace {

// One stream per sample.
std::vector<RandomStream> sample_streams(uint64_t seed, RandomPurpose purpose, const std::vector<uint32_t>& epochs,
                                         const std::vector<uint64_t>& sample_ids);

// t in [0, 1], fp32 [B], as the sampling says. offsets: diffusion/timestep_sampling.h.
torch::Tensor draw_timesteps(const FlowObjectiveConfig& objective, int64_t image_tokens, uint64_t seed,
                             const std::vector<uint32_t>& epochs, const std::vector<uint64_t>& sample_ids,
                             torch::Device device, const std::vector<double>& offsets = {});
// N(0, 1), fp32, the shape of `like` (dimension 0 is the batch).
torch::Tensor draw_noise(uint64_t seed, RandomPurpose purpose, const std::vector<uint32_t>& epochs,
                         const std::vector<uint64_t>& sample_ids, const torch::Tensor& like);

// (1 - t) x0 + t noise, in fp32.
torch::Tensor interpolate(const torch::Tensor& x0, const torch::Tensor& noise, const torch::Tensor& t_B);

struct VelocityLoss {
  torch::Tensor per_sample_B;  // mean squared error of each sample, fp32
  torch::Tensor dprediction;   // gradient of `weight * sum over samples of per_sample`, in the prediction's dtype
};
// Factors of the loss, fp32; undefined: 1.
struct LossFactors {
  torch::Tensor sample_B;    // of each sample
  torch::Tensor element_BX;  // of each element, in a shape that goes with the prediction's; the mean is still over all
};
// Prediction and target [B, ...]; the arithmetic is fp32 whatever their dtype. weight: 1 / samples in the global batch.
VelocityLoss velocity_loss(const torch::Tensor& prediction, const torch::Tensor& target, double weight,
                           const LossFactors& factors = {});

}  // namespace millrace
