// Lion with D-Adaptation (dadaptation.h), as dadaptation 3.2's DAdaptLion. With r = d lr and b3 the root of beta2:
//   u = sign(beta1 m + (1 - beta1) g);  p *= 1 - weight_decay r;  p -= r u;  m = beta2 m + (1 - beta2) r g
//   weighted_sum = b3 weighted_sum + (1 - b3) r <u, s>     with the previous s
//   s = b3 s + (1 - b3) r u;  d_hat = weighted_sum / ((1 - b3) |s|_1)
//
// State per element, fp32: "exp_avg", "s".
#pragma once

#include "optim/dadaptation.h"

namespace millrace {

struct DAdaptLionOptions {
  double beta1 = 0.9, beta2 = 0.99;
  double weight_decay = 0;
  DAdaptationOptions estimate = {};  // without growth_rate
};

class DAdaptLion : public DAdaptation {
 public:
  DAdaptLion(std::vector<FlatGroup> groups, const DAdaptLionOptions& options, const RankSums& ranks);

 protected:
  void update(double lr, const torch::Tensor& coefficient_1) override;

 private:
  DAdaptLionOptions options_;
};

}  // namespace millrace
