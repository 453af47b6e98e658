// AdaGrad with D-Adaptation (dadaptation.h), as dadaptation 3.2's DAdaptAdaGrad: dual averaging from the starting point
// p0. With the gradient g, to which weight_decay p is added, r = d lr and c = sqrt(v) + eps:
//   v += g^2;  s += r g;  weighted_sum += r^2 <g, g / c>;  d_hat = (<s, s / c> - weighted_sum) / |s|_1
//   p = momentum p + (1 - momentum) (p0 - s / c)
// v starts as 1e-6. State per element, fp32: "s", "p0", "sum_sq" (v).
#pragma once

#include "optim/dadaptation.h"

namespace millrace {

struct DAdaptAdaGradOptions {
  double momentum = 0;
  double eps = 1e-6;
  double weight_decay = 0;
  DAdaptationOptions estimate = {};
};

class DAdaptAdaGrad : public DAdaptation {
 public:
  DAdaptAdaGrad(std::vector<FlatGroup> groups, const DAdaptAdaGradOptions& options, const RankSums& ranks);

  void restart() override;

 protected:
  void update(double lr, const torch::Tensor& coefficient_1) override;

 private:
  void start();

  DAdaptAdaGradOptions options_;
};

}  // namespace millrace
