// The loss of a batch and its gradient, as [objective] says: which loss, of what, and how samples weigh.
//
// Letters: B samples; I image tokens; C channels of a token.
#pragma once

#include <torch/types.h>

#include "diffusion/flow_matching.h"
#include "diffusion/options/flow_objective.h"

namespace millrace {

// For each number d of the difference prediction - target, fp32, and its derivative:
//   l2         d^2
//   l1         |d|
//   huber      2 c (sqrt(d^2 + c^2) - c)
//   smooth_l1  2 (sqrt(d^2 + c^2) - c)
// threshold: c, of a shape that broadcasts to the difference's.
struct ElementLoss {
  torch::Tensor values, derivatives;
};
ElementLoss element_loss(LossType type, const torch::Tensor& difference, const torch::Tensor& threshold);

// What is compared with the velocity, of the model's output p at the noisy latent x_t: raw p, additive p + x_t,
// sigma_scaled x_t - t p. fp32, except that raw is the output itself. t_B: fp32 [B].
torch::Tensor prediction_of(PredictionType type, const torch::Tensor& output_BIC, const torch::Tensor& noisy_BIC,
                            const torch::Tensor& t_B);

struct FlowLoss {
  torch::Tensor per_sample_B;  // fp32: the mean over a sample's numbers, times its weight by weighting_scheme
  torch::Tensor doutput_BIC;   // gradient of `weight * sum over samples of per_sample` by the model's output
};
// prediction_BIC: prediction_of() the output; both target and prediction in any dtype. output_dtype: of the model's
// output. factors: of samples and of numbers, besides the weight of weighting_scheme.
FlowLoss flow_loss(const FlowObjectiveConfig& objective, const torch::Tensor& prediction_BIC,
                   const torch::Tensor& target_BIC, const torch::Tensor& t_B, double weight,
                   torch::ScalarType output_dtype, const LossFactors& factors = {});

}  // namespace millrace
