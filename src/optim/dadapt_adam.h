// Adam with D-Adaptation (dadaptation.h), as dadaptation 3.2's DAdaptAdam. With r = d lr * bias correction, c = sqrt(v)
// + eps, b3 the root of beta2 and the sums over all elements:
//   weighted_sum = b3 weighted_sum + (1 - b3) r <g, s / c>     with the previous s and c
//   m = beta1 m + (1 - beta1) r g;  v = beta2 v + (1 - beta2) g^2;  s = b3 s + (1 - b3) r g
//   d_hat = weighted_sum / ((1 - b3) |s|_1)
//   p *= 1 - weight_decay r (with decouple; otherwise it is added to the gradient);  p -= m / c
// The preprint's version, DAdaptAdamPreprint, which dadaptation 1 and 2 called DAdaptAdam, has no bias correction and
// another estimate, with b3 = beta2 and the new c:
//   weighted_sum = b3 weighted_sum + (1 - b3) r^2 <g, g / c>
//   d_hat = (<s, s / c> / (1 - b3) - weighted_sum) / |s|_1
//
// State per element, fp32: "exp_avg", "exp_avg_sq", "s".
#pragma once

#include "optim/dadaptation.h"

namespace millrace {

struct DAdaptAdamOptions {
  bool preprint = false;
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  bool decouple = false;
  bool use_bias_correction = false;  // not with preprint
  DAdaptationOptions estimate = {};
};

class DAdaptAdam : public DAdaptation {
 public:
  DAdaptAdam(std::vector<FlatGroup> groups, const DAdaptAdamOptions& options, const RankSums& ranks);

 protected:
  void update(double lr, const torch::Tensor& coefficient_1) override;

 private:
  bool estimate_d(double rate, const torch::Tensor& coefficient_1);

  DAdaptAdamOptions options_;
};

}  // namespace millrace
