// Schedule-free AdamW (Defazio et al. 2024, "The Road Less Scheduled"), as in schedulefree 1.4. Three sequences:
// z takes AdamW's steps, x averages z, and gradients are taken at y = (1 - beta1) z + beta1 x, which the groups'
// masters hold during training. x, the better weights, is computed for samples, validation and the finished
// model:
//   x = y + (1 - 1 / beta1) (z - y)
// In step k, counted from 1, z's share of x is c = w_k / (w_1 + ... + w_k), w_k = k^r * (largest lr so
// far)^weight_lr_power:
//   v = beta2 * v + (1 - beta2) * g^2;  u = g / (sqrt(v / (1 - beta2^k)) + eps) + weight_decay * y
//   y += c * (z - y) + lr * (beta1 * (1 - c) - 1) * u;  z -= lr * u
// where lr rises linearly over the first warmup_steps. State per element: "z" and "exp_avg_sq", fp32; of the whole
// optimizer, per group: "weight_sum" and "lr_max".
#pragma once

#include <memory>

#include "optim/flat_rule_optimizer.h"

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

class ScheduleFreeAdamW : public FlatRuleOptimizer {
 public:
  ScheduleFreeAdamW(std::vector<FlatGroup> groups, const ScheduleFreeOptions& options);

  std::vector<StateTensor> state() const override;
  void restart() override;
  std::unique_ptr<EvaluationWeights> evaluation_weights() override;
  std::vector<torch::Tensor> averaged_weights() const override;

 protected:
  void update(double lr, const torch::Tensor& coefficient_1) override;

 private:
  torch::Tensor averaged(size_t group, int64_t begin, int64_t end) const;

  ScheduleFreeOptions options_;
  torch::Tensor weight_sum_, lr_max_;  // fp64 on the CPU, one element per group
};

}  // namespace millrace
