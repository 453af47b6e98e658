// The losses of LoRA training on FLUX, number by number, and how samples are weighted: the choices of sd-scripts' FLUX
// trainer (library/train_util.py, library/sd3_train_utils.py, commit 48d368f). No torch; flow_loss.h is the same over
// tensors.
#pragma once

namespace millrace {

enum class LossType { kL2, kL1, kHuber, kSmoothL1 };
enum class HuberSchedule { kConstant, kExponential };

// c of both Huber losses at a timestep 0..1000: huber_c, or from 1 without noise down to huber_c at pure noise; times
// huber_scale.
double huber_threshold(HuberSchedule schedule, double huber_c, double huber_scale, double timestep);

// 2 / (pi (1 - 2 sigma + 2 sigma^2)) (arXiv 2403.03206, section 3.1), for a noise fraction sigma in 0..1.
double cosmap_weight(double sigma);

}  // namespace millrace
