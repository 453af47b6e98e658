#include "diffusion/element_loss.h"

#include <cmath>
#include <numbers>

namespace millrace {

double huber_threshold(HuberSchedule schedule, double huber_c, double huber_scale, double timestep) {
  if (schedule == HuberSchedule::kConstant) return huber_c * huber_scale;
  return std::exp(std::log(huber_c) * timestep / 1000) * huber_scale;
}

double cosmap_weight(double sigma) {
  return 2 / (std::numbers::pi * (1 - 2 * sigma + 2 * sigma * sigma));
}

}  // namespace millrace
