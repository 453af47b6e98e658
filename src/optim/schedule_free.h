// Schedule-free AdamW, RAdam and SGD (Defazio et al. 2024, "The Road Less Scheduled"), as in schedulefree 1.4: z takes
// the rule's steps, with gradients taken at y (schedule_free_weights.h).
// In step k, counted from 1, z's share of x is c = w_k / (w_1 + ... + w_k), w_k = k^r * (largest lr so
// far)^weight_lr_power:
//   AdamW, RAdam: v = beta2 * v + (1 - beta2) * g^2;  u = g / (sqrt(v / (1 - beta2^k)) + eps) + weight_decay * y
//   SGD: u = g + weight_decay * y
//   y += c * (z - y) + lr * (beta1 * (1 - c) - 1) * u;  z -= lr * u
// lr rises linearly over the first warmup_steps; RAdam's is multiplied by its rectification (rectification.h) instead,
// and before the first one is 0 or, without silent_sgd_phase, takes SGD's steps. SGD's beta1 is called momentum.
// State per element, fp32: "z" and, but for SGD, "exp_avg_sq"; of the whole optimizer, per group: "weight_sum" and
// "lr_max".
#pragma once

#include "optim/schedule_free_weights.h"

namespace millrace {

struct ScheduleFreeOptions {
  enum class Rule { kAdamW, kRAdam, kSgd };
  Rule rule = Rule::kAdamW;
  double beta1 = 0.9, beta2 = 0.999;  // SGD has no beta2
  double eps = 1e-8;                  // nor this
  double weight_decay = 0;
  int64_t warmup_steps = 0;      // not of RAdam
  bool silent_sgd_phase = true;  // of RAdam
  double r = 0;
  double weight_lr_power = 2;
  RoundingOptions rounding = {};
};

class ScheduleFree : public ScheduleFreeOptimizer {
 public:
  ScheduleFree(std::vector<FlatGroup> groups, const ScheduleFreeOptions& options);

  std::vector<StateTensor> state() const override;
  void restart() override;

 protected:
  void update(double lr, const torch::Tensor& coefficient_1) override;

 private:
  ScheduleFreeOptions options_;
  torch::Tensor weight_sum_, lr_max_;  // fp64 on the CPU, one element per group
};

}  // namespace millrace
