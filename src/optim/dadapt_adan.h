// Adan (Xie et al. 2022, arXiv 2208.06677) with D-Adaptation (dadaptation.h), as dadaptation 3.2's DAdaptAdan and
// DAdaptAdanIP. With r = d lr, the gradient's change h = g - previous g (at first 0) and c = sqrt(v) + eps:
//   m = beta1 m + (1 - beta1) r g;  n = beta2 n + (1 - beta2) r h;  v = beta3 v + (1 - beta3) (g + beta2 h)^2
//   s = beta3 s + (1 - beta3) r g
//   p -= (m + beta2 n) / c;  p /= 1 + weight_decay r (with no_prox, before that: p *= 1 - weight_decay r)
// DAdaptAdan: weighted_sum = beta3 weighted_sum + (1 - beta3) r^2 <g, g / c>
//             d_hat = (<s, s / c> / (1 - beta3) - weighted_sum) / |s|_1
// DAdaptAdanIP, with the previous s and c: weighted_sum = beta3 weighted_sum + (1 - beta3) r <g, s / c>
//             d_hat = 2 beta3 weighted_sum / ((1 - beta3) |s|_1)
//
// State per element, fp32: "exp_avg", "exp_avg_diff", "exp_avg_sq", "s", "previous_grad".
#pragma once

#include "optim/dadaptation.h"

namespace millrace {

struct DAdaptAdanOptions {
  bool ip = false;  // an estimate by inner products, which rises faster
  double beta1 = 0.98, beta2 = 0.92, beta3 = 0.99;
  double eps = 1e-8;
  double weight_decay = 0.02;
  bool no_prox = false;
  DAdaptationOptions estimate = {};
};

class DAdaptAdan : public DAdaptation {
 public:
  DAdaptAdan(std::vector<FlatGroup> groups, const DAdaptAdanOptions& options, const RankSums& ranks);

 protected:
  void update(double lr, const torch::Tensor& coefficient_1) override;

 private:
  bool estimate_d(double lr, const torch::Tensor& coefficient_1);

  DAdaptAdanOptions options_;
};

}  // namespace millrace
