// CAME (Luo et al. 2023, "Confidence-guided Adaptive Memory Efficient Optimization", arXiv 2307.02047), as in
// pytorch-optimizer 3.9.0: Adafactor's step, divided by how far it lies from its average. With the means R and C over a
// matrix's rows and columns, and ~ for their product over the mean, as in adafactor.h:
//   V = beta2 V~ + (1 - beta2) (g^2 + eps1);  u = g / sqrt(V);  u /= max(1, rms(u) / clip_threshold)
//   m = beta1 m + (1 - beta1) u;  S = beta3 S~ + (1 - beta3) ((u - m)^2 + eps2)
//   p *= 1 - weight_decay * lr;  p -= lr m / sqrt(S)
// A parameter with one dimension has a V of every element and no S: p -= lr m. (The package then also multiplies m by
// lr, because both share their memory.)
//
// State of a matrix: "exp_avg_sq_row", "exp_avg_sq_col", "exp_avg_res_row" and "exp_avg_res_col", complete on every
// rank; of other parameters "exp_avg_sq"; per element "exp_avg"; all fp32.
#pragma once

#include <vector>

#include "optim/adafactor_parts.h"
#include "optim/optimizer.h"
#include "optim/rank_sums.h"

namespace millrace {

struct CameOptions {
  double beta1 = 0.9, beta2 = 0.999, beta3 = 0.9999;
  double eps1 = 1e-30, eps2 = 1e-16;
  double clip_threshold = 1;
  double weight_decay = 0;
};

class Came : public Optimizer {
 public:
  // Throws ConfigError for options outside their range, and for parameters of more than two dimensions.
  Came(std::vector<FlatGroup> groups, const CameOptions& options, const RankSums& ranks);

  std::vector<StateTensor> state() const override;
  void restart() override;

 protected:
  void update(double lr, const torch::Tensor& coefficient_1) override;

 private:
  class Step;

  CameOptions options_;
  RankSums ranks_;
  AdafactorParts squares_, residuals_;   // with the same parts
  std::vector<torch::Tensor> exp_avgs_;  // per group
};

}  // namespace millrace
