#include "diffusion/flow_loss.h"

#include <vector>

namespace millrace {
namespace {

constexpr double kDefaultHuberC = 0.1;

// One number for each sample, to broadcast over its numbers; made on the CPU from t, which has few.
template <typename OfTime>
torch::Tensor per_sample(const torch::Tensor& t_B, int64_t dims, OfTime of_time) {
  std::vector<int64_t> shape(static_cast<size_t>(dims), 1);
  shape[0] = t_B.size(0);
  if (t_B.is_meta()) return torch::empty(shape, t_B.options());  // planning
  const torch::Tensor times = t_B.to(torch::kCPU, torch::kFloat64);
  std::vector<float> numbers;
  for (int64_t i = 0; i < times.numel(); ++i) {
    numbers.push_back(static_cast<float>(of_time(times.const_data_ptr<double>()[i])));
  }
  return torch::tensor(numbers, torch::kFloat32).to(t_B.device()).view(shape);
}

double scheme_weight(WeightingScheme scheme, double t) {
  if (scheme == WeightingScheme::kSigmaSqrt) return 1 / (t * t);
  return scheme == WeightingScheme::kCosmap ? cosmap_weight(t) : 1;
}

bool weighs(WeightingScheme scheme) {
  return scheme == WeightingScheme::kSigmaSqrt || scheme == WeightingScheme::kCosmap;
}

}  // namespace

ElementLoss element_loss(LossType type, const torch::Tensor& difference, const torch::Tensor& threshold) {
  if (type == LossType::kL2) return {difference.square(), difference * 2};
  // Not abs(), which has no version for the meta device.
  if (type == LossType::kL1) return {at::maximum(difference, difference.neg()), difference.sign()};
  // A threshold is above 0, so that the root is, too.
  const torch::Tensor root = (difference.square() + threshold.square()).sqrt();
  const torch::Tensor values = (root - threshold) * 2, derivatives = difference / root * 2;
  if (type == LossType::kSmoothL1) return {values, derivatives};
  return {values * threshold, derivatives * threshold};
}

torch::Tensor prediction_of(PredictionType type, const torch::Tensor& output_BIC, const torch::Tensor& noisy_BIC,
                            const torch::Tensor& t_B) {
  if (type == PredictionType::kRaw) return output_BIC;
  const torch::Tensor output = output_BIC.to(torch::kFloat32), noisy = noisy_BIC.to(torch::kFloat32);
  if (type == PredictionType::kAdditive) return output + noisy;
  return noisy - t_B.to(torch::kFloat32).view({-1, 1, 1}) * output;
}

FlowLoss flow_loss(const FlowObjectiveConfig& objective, const torch::Tensor& prediction_BIC,
                   const torch::Tensor& target_BIC, const torch::Tensor& t_B, double weight,
                   torch::ScalarType output_dtype, const LossFactors& factors) {
  const torch::NoGradGuard no_grad;
  const bool is_raw = objective.model_prediction_type == PredictionType::kRaw;
  if (is_raw && objective.loss_type == LossType::kL2) {
    const VelocityLoss loss = velocity_loss(prediction_BIC, target_BIC, weight, factors);
    return {loss.per_sample_B, loss.dprediction};
  }
  const torch::Tensor difference = prediction_BIC.to(torch::kFloat32) - target_BIC.to(torch::kFloat32);
  const torch::Tensor threshold = per_sample(t_B, difference.dim(), [&](double t) {
    return huber_threshold(objective.huber_schedule, objective.huber_c.value_or(kDefaultHuberC),
                           objective.huber_scale.value_or(1), 1000 * t);
  });
  ElementLoss loss = element_loss(objective.loss_type, difference, threshold);
  const auto multiply = [&](const torch::Tensor& factor) {
    loss.values = loss.values * factor;
    loss.derivatives = loss.derivatives * factor;
  };
  if (weighs(objective.weighting_scheme)) {
    const torch::Tensor scheme =
        per_sample(t_B, difference.dim(), [&](double t) { return scheme_weight(objective.weighting_scheme, t); });
    multiply(scheme);
  }
  if (factors.element_BX.defined()) multiply(factors.element_BX);
  if (factors.sample_B.defined()) multiply(factors.sample_B.view({-1, 1, 1}));
  const int64_t elements = difference.numel() / difference.size(0);
  torch::Tensor gradient = loss.derivatives * (weight / static_cast<double>(elements));
  if (objective.model_prediction_type == PredictionType::kSigmaScaled) {
    gradient = gradient * -t_B.to(torch::kFloat32).view({-1, 1, 1});
  }
  return {loss.values.flatten(1).mean(1), gradient.to(output_dtype)};
}

}  // namespace millrace
