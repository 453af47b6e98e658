// Lion (Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms"), as in lion-pytorch 0.2.3:
//   p *= 1 - lr * weight_decay;  p -= lr * sign(beta1 * m + (1 - beta1) * g);  m = beta2 * m + (1 - beta2) * g
// With decoupled_weight_decay the decay does not depend on the base rate: 1 - lr / base_lr * weight_decay.
// State per element: "exp_avg", fp32.
#pragma once

#include "optim/flat_rule_optimizer.h"

namespace millrace {

struct LionOptions {
  double beta1 = 0.9, beta2 = 0.99;
  double weight_decay = 0;
  bool decoupled_weight_decay = false;
  double base_lr = 1e-4;  // the schedule's base rate
  RoundingOptions rounding = {};
};

class Lion : public FlatRuleOptimizer {
 public:
  Lion(std::vector<FlatGroup> groups, const LionOptions& options);
  bool steps_by_group() const override { return true; }
  void set_momentum(double momentum) override { options_.beta1 = momentum; }

 protected:
  void update(double lr, const torch::Tensor& coefficient_1) override;
  void update_group(size_t group, double lr, const torch::Tensor& coefficient_1) override;

 private:
  LionOptions options_;
};

}  // namespace millrace
