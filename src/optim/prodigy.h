// Prodigy (Mishchenko and Defazio 2023, arXiv 2306.06101), as in prodigyopt 1.1.2: Adam with a step size d that is
// estimated from the distance between the weights p and their starting point p0. lr is 1, or 1 times a schedule's
// factor. In each step, with r = lr * bias correction and b3 = beta3 (by default the root of beta2):
//   m = beta1 m + (1 - beta1) d g;  v = beta2 v + (1 - beta2) d^2 g^2;  s = b3 s + (d / d0) q g
//   d_numerator = b3 d_numerator + (d / d0) d r <g, p0 - p>;  d_hat = d_coef d_numerator / |s|_1
//   d' = max(d, d_hat) while d is d0, then min(largest d_hat so far, d growth_rate)
//   p *= 1 - weight_decay d r;  p -= d r m / (sqrt(v) + d' eps)
// q is d r, or d with safeguard_warmup. There is one d for all groups and ranks; only every slice_p-th element of each
// parameter takes part in s and <g, p0 - p>. Without decouple the weight decay is added to the gradient. A step with a
// zero gradient or a learning rate of 0 changes nothing.
//
// State per element, fp32: "exp_avg", "exp_avg_sq", "s" and "p0" (with slice_p, 1 / slice_p as many of the last two);
// of the whole optimizer: "d", "d_max", "d_numerator", "k".
#pragma once

#include <memory>
#include <optional>

#include "optim/flat_rule_optimizer.h"
#include "optim/rank_sums.h"

namespace millrace {

struct ProdigyOptions {
  double beta1 = 0.9, beta2 = 0.999;
  std::optional<double> beta3;
  double eps = 1e-8;
  double weight_decay = 0;
  bool decouple = true;
  bool use_bias_correction = false;
  bool safeguard_warmup = false;
  double d0 = 1e-6;
  double d_coef = 1;
  std::optional<double> growth_rate;  // not set: no limit
  int64_t slice_p = 1;
  RoundingOptions rounding = {};
};

class ProdigySlices;

class Prodigy : public FlatRuleOptimizer {
 public:
  // Throws ConfigError for groups whose rates differ (0 is allowed: such a group is not updated), and for slice_p with
  // the matrix boxes of tensor parallelism.
  Prodigy(std::vector<FlatGroup> groups, const ProdigyOptions& options, const RankSums& ranks);
  ~Prodigy() override;

  std::vector<StateTensor> state() const override;
  void restart() override;
  double effective_lr(double lr) const override { return lr * d(); }
  double d() const { return d_.item<double>(); }
  void set_momentum(double momentum) override { options_.beta1 = momentum; }

 protected:
  void update(double lr, const torch::Tensor& coefficient_1) override;

 private:
  // d, d_max, d_numerator and k, as they are saved: fp64 on the CPU, one element each.
  bool estimate_d(double scaled_lr, double lr, const torch::Tensor& coefficient_1);
  void gather(const FlatUpdateNumbers& numbers, size_t group, const torch::Tensor& coefficient_1,
              const torch::Tensor& sums_3);
  bool takes_part(size_t group) const { return groups()[group].lr_factor != 0; }

  ProdigyOptions options_;
  RankSums ranks_;
  torch::Tensor d_, d_max_, d_numerator_, k_;
  std::unique_ptr<ProdigySlices> slices_;  // with slice_p above 1
};

}  // namespace millrace
