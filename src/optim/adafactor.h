// Adafactor (Shazeer and Stern 2018), as in transformers: keeps only the row and column means of a matrix's squared
// gradients. In step t, counted from 1, with a parameter's means R and C and b = 1 - t^decay_rate:
//   R = b R + (1 - b) mean over columns of (g^2 + eps1);  C likewise over rows
//   u = g / sqrt(R / mean(R)) / sqrt(C);  u /= max(1, rms(u) / clip_threshold)
//   rate = (relative_step ? min(warmup_init ? 1e-6 t : 1e-2, 1 / sqrt(t)) : lr) * (scale_parameter ? max(eps2, rms(p))
//   : 1) p *= 1 - weight_decay * rate;  p -= rate * u, or with beta1 the average m = beta1 m + (1 - beta1) rate u
// A parameter with one dimension keeps v = b v + (1 - b) (g^2 + eps1) of every element: u = g / sqrt(v).
//
// State of a matrix: "exp_avg_sq_row" and "exp_avg_sq_col", complete on every rank; of other parameters "exp_avg_sq";
// with beta1 also "exp_avg" per element; all fp32.
#pragma once

#include <optional>
#include <vector>

#include "optim/adafactor_parts.h"
#include "optim/optimizer.h"
#include "optim/rank_sums.h"

namespace millrace {

struct AdafactorOptions {
  double eps1 = 1e-30, eps2 = 1e-3;
  double clip_threshold = 1;
  double decay_rate = -0.8;
  std::optional<double> beta1;
  double weight_decay = 0;
  bool scale_parameter = true;
  bool relative_step = true;  // lr is then unused
  bool warmup_init = false;
};

class Adafactor : public Optimizer {
 public:
  // Throws ConfigError for options outside their range, and for parameters of more than two dimensions.
  Adafactor(std::vector<FlatGroup> groups, const AdafactorOptions& options, const RankSums& ranks);

  std::vector<StateTensor> state() const override;
  void restart() override;
  double effective_lr(double lr) const override;

 protected:
  void update(double lr, const torch::Tensor& coefficient_1) override;

 private:
  class Step;

  AdafactorOptions options_;
  RankSums ranks_;
  AdafactorParts parts_;
  std::vector<torch::Tensor> exp_avgs_;  // per group; none without beta1
};

}  // namespace millrace
