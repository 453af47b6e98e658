// The losses of LoRA training on FLUX element by element, and how they are weighted: the choices of sd-scripts' FLUX
// trainer (library/train_util.py, library/sd3_train_utils.py, commit 48d368f). No torch.
#pragma once

#include <string>

namespace millrace {

enum class LossType { kL2, kL1, kHuber, kSmoothL1 };
enum class HuberSchedule { kConstant, kExponential };
// By sd-scripts' names: "smooth_l1", "exponential". Throw ConfigError naming option, with the nearest name. "snr",
// sd-scripts' default for both Huber losses, is refused as it is there: FLUX has no such schedule.
LossType parse_loss_type(const std::string& name, const std::string& option);
HuberSchedule parse_huber_schedule(const std::string& name, const std::string& option);

// c of both Huber losses at a timestep 0..1000: huber_c, or from 1 without noise down to huber_c at pure noise; times
// huber_scale.
double huber_threshold(HuberSchedule schedule, double huber_c, double huber_scale, double timestep);

// The loss of one element and its derivative by the difference d = prediction - target: d^2, |d|,
// 2 c (sqrt(d^2 + c^2) - c), 2 (sqrt(d^2 + c^2) - c) with c = threshold.
struct ElementLoss {
  double value;
  double derivative;
};
ElementLoss element_loss(LossType type, double difference, double threshold);

enum class LossWeighting { kNone, kSigmaSqrt, kCosmap };
// The weighting_scheme of that name; schemes that only say how timesteps are drawn weigh all samples equally.
LossWeighting parse_loss_weighting(const std::string& name, const std::string& option);
// The weight of a sample whose noise fraction is sigma (0..1), for sigma_scaled prediction: 1, sigma^-2, or
// 2 / (pi (1 - 2 sigma + 2 sigma^2)) (arXiv 2403.03206, section 3.1).
double loss_weight(LossWeighting weighting, double sigma);

}  // namespace millrace
