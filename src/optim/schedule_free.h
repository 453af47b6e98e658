// Schedule-free AdamW (Defazio et al. 2024, "The Road Less Scheduled"), as in schedulefree 1.4: z takes AdamW's steps,
// with gradients taken at y (schedule_free_weights.h).
// In step k, counted from 1, z's share of x is c = w_k / (w_1 + ... + w_k), w_k = k^r * (largest lr so
// far)^weight_lr_power:
//   v = beta2 * v + (1 - beta2) * g^2;  u = g / (sqrt(v / (1 - beta2^k)) + eps) + weight_decay * y
//   y += c * (z - y) + lr * (beta1 * (1 - c) - 1) * u;  z -= lr * u
// where lr rises linearly over the first warmup_steps. State per element: "z" and "exp_avg_sq", fp32; of the whole
// optimizer, per group: "weight_sum" and "lr_max".
#pragma once

#include "optim/schedule_free_weights.h"

namespace millrace {

struct ScheduleFreeOptions {
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  int64_t warmup_steps = 0;
  double r = 0;
  double weight_lr_power = 2;
  RoundingOptions rounding = {};
};

class ScheduleFreeAdamW : public ScheduleFreeOptimizer {
 public:
  ScheduleFreeAdamW(std::vector<FlatGroup> groups, const ScheduleFreeOptions& options);

  std::vector<StateTensor> state() const override;
  void restart() override;

 protected:
  void update(double lr, const torch::Tensor& coefficient_1) override;

 private:
  ScheduleFreeOptions options_;
  torch::Tensor weight_sum_, lr_max_;  // fp64 on the CPU, one element per group
};

}  // namespace millrace
