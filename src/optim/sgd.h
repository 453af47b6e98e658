// Stochastic gradient descent with momentum, as in torch.optim.SGD:
//   g += weight_decay * p;  m = momentum * m + (1 - dampening) * g (at first m = g);  p -= lr * u
// u is g + momentum * m with nesterov, else m; without momentum it is g.
// State per element: "momentum_buffer", fp32; none without momentum.
#pragma once

#include "optim/flat_rule_optimizer.h"

namespace millrace {

struct SgdOptions {
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
  RoundingOptions rounding = {};
};

class Sgd : public FlatRuleOptimizer {
 public:
  Sgd(std::vector<FlatGroup> groups, const SgdOptions& options);

  bool steps_by_group() const override { return true; }
  void set_momentum(double momentum) override;

 protected:
  void update(double lr, const torch::Tensor& coefficient_1) override;
  void update_group(size_t group, double lr, const torch::Tensor& coefficient_1) override;

 private:
  SgdOptions options_;
};

}  // namespace millrace
