// SGD with D-Adaptation (dadaptation.h), as dadaptation 3.2's DAdaptSGD: dual averaging from the starting point p0.
// With the gradient g, to which weight_decay p is added, r = d lr / |first gradient without weight decay|_2:
//   weighted_sum += r <g, s>     with the previous s
//   s += r g;  d_hat = 2 weighted_sum / |s|_2;  p = momentum p + (1 - momentum) (p0 - s)
//
// State per element, fp32: "s", "p0"; of the whole optimizer, besides dadaptation.h's: "first_norm".
#pragma once

#include "optim/dadaptation.h"

namespace millrace {

struct DAdaptSgdOptions {
  double momentum = 0;
  double weight_decay = 0;
  DAdaptationOptions estimate = {};
};

class DAdaptSgd : public DAdaptation {
 public:
  DAdaptSgd(std::vector<FlatGroup> groups, const DAdaptSgdOptions& options, const RankSums& ranks);

  std::vector<StateTensor> state() const override;
  void restart() override;

 protected:
  void update(double lr, const torch::Tensor& coefficient_1) override;

 private:
  double gradient_norm(const torch::Tensor& coefficient_1);

  DAdaptSgdOptions options_;
  torch::Tensor first_norm_;  // fp64 on the CPU, one element
};

}  // namespace millrace
