// Prodigy's step size for schedule-free weights, as in prodigy-plus-schedule-free 1.9.2: Adafactor's squared averages
// instead of Adam's, no first moment, and steps whose root mean square is limited as StableAdamW does. lr is 1, or 1
// times a schedule's factor. In step k, counted from 1, with D = lr * d, or lr times the harmonic mean of the groups' d
// with split_groups_mean, and r = (d of the step before) / d:
//   v = beta2 r^2 v + (1 - beta2) g^2;  u = g / (sqrt(v) + eps);  u /= max(1, rms(u) / limit)
//   c = D^2 / (sum of all D^2);  u += weight_decay y;  y += c (z - y) - D (1 - beta1 (1 - c)) u;  z -= D u
// limit is 1, and 50 while d is d0 (not with use_speed). With factored, v of a matrix with a side of 32 or more is the
// product of the means of its longer and its shorter side, the latter over their mean; as in the package, that mean is
// taken of single numbers where a matrix has more rows than columns.
//
// Every 11th element of each parameter takes part in the estimate, in bfloat16, with a = sqrt(d):
//   s = beta3 s + a g;  n = a sum <g, p0 - y>;  d_numerator = beta3 d_numerator + n
//   d' = max(d, atan2(d_coef d_numerator, |s|_1))
// where a negative n replaces d_numerator if it is smaller, once d is above d0, and otherwise counts nothing.
// use_speed: the sums take the signs of g and of each parameter's <g, p0 - y>, a is d0 sqrt(d), and d' = min(d',
// d^0.975). After prodigy_steps steps d stays. use_bias_correction: the rectified schedule of RAdam, as in
// schedulefree.
//
// State per element: "z", fp32; "exp_avg_sq", or "exp_avg_sq_row" and "exp_avg_sq_col" of a matrix; "s" and "p0" in
// bfloat16, one of 11; of the whole optimizer, per group: "d", "d_prev", "d_numerator", "weight_sum".
#pragma once

#include <optional>

#include "optim/adafactor_parts.h"
#include "optim/prodigy_slices.h"
#include "optim/rank_sums.h"
#include "optim/schedule_free_weights.h"

namespace millrace {

struct ProdigyScheduleFreeOptions {
  double beta1 = 0.9, beta2 = 0.99;
  std::optional<double> beta3;  // not set: the root of beta2
  double eps = 1e-8;
  double weight_decay = 0;
  double d0 = 1e-6, d_coef = 1;
  int64_t prodigy_steps = 0;  // 0: d is estimated all the time
  bool use_bias_correction = false;
  bool use_speed = false;
  bool factored = true;
  bool use_stableadamw = true;
  bool split_groups = true, split_groups_mean = true;  // a d of its own for each group
  RoundingOptions rounding = {};
};

class ProdigyScheduleFree : public ScheduleFreeOptimizer {
 public:
  // Throws ConfigError for options outside their range, and for boxes of matrices (tensor parallelism).
  ProdigyScheduleFree(std::vector<FlatGroup> groups, const ProdigyScheduleFreeOptions& options, const RankSums& ranks);

  std::vector<StateTensor> state() const override;
  void restart() override;
  // With the largest d of all groups.
  double effective_lr(double lr) const override;

 protected:
  void update(double lr, const torch::Tensor& coefficient_1) override;

 private:
  class Step;

  bool splits_groups() const { return options_.split_groups && groups().size() > 1; }
  void estimate_d(const torch::Tensor& inner_products, const torch::Tensor& denominators);

  ProdigyScheduleFreeOptions options_;
  RankSums ranks_;
  AdafactorParts parts_;
  ProdigySlices slices_;
  torch::Tensor d_, d_prev_, d_numerator_, weight_sum_;  // fp64 on the CPU, one element per group
};

}  // namespace millrace
