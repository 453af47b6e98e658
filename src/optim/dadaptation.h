// Common base of the rules with D-Adaptation (Defazio and Mishchenko 2023, "Learning-Rate-Free Learning by
// D-Adaptation", arXiv 2301.07733), as in dadaptation 3.2: a step size d, estimated from a sum s of the gradients that
// each rule weights in its own way. d never falls:
//   d' = max(d, min(d_hat, d growth_rate))
// lr is 1, or 1 times a schedule's factor. There is one d for all groups and ranks. A step in which s is zero, because
// all gradients were, changes no weights.
//
// State, besides the rule's: of the whole optimizer "d", "weighted_sum" (the rule's running sum) and "k" (the number of
// steps that changed weights).
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "optim/flat_rule_optimizer.h"
#include "optim/rank_sums.h"

namespace millrace {

struct DAdaptationOptions {
  double d0 = 1e-6;
  std::optional<double> growth_rate;  // not set: no limit
  RoundingOptions rounding = {};
};

class DAdaptation : public FlatRuleOptimizer {
 public:
  std::vector<StateTensor> state() const override;
  void restart() override;
  double effective_lr(double lr) const override { return lr * d(); }
  double d() const { return d_.item<double>(); }

 protected:
  // rule: its name, for messages. Throws ConfigError for groups whose rates differ (0 is allowed: such a group is not
  // updated) and for options outside their range.
  DAdaptation(std::vector<FlatGroup> groups, const DAdaptationOptions& options, const RankSums& ranks, const char* rule,
              std::vector<std::string> states);

  // One pass over every group; returns the rule's sums over the elements of all ranks. Collective, waits for the
  // device. For a plan of memory on the meta device, ones.
  std::array<double, 3> sums_of(FlatRule rule, const FlatUpdateNumbers& numbers, const std::vector<size_t>& states,
                                const torch::Tensor& coefficient_1);
  void raise_d(double d_hat);
  // One pass over every group that changes its weights.
  void step_weights(FlatRule rule, const FlatUpdateNumbers& numbers, const std::vector<size_t>& states,
                    const torch::Tensor& coefficient_1 = {});

  bool takes_part(size_t group) const { return groups()[group].lr_factor != 0; }
  const RankSums& ranks() const { return ranks_; }
  double k() const { return k_.item<double>(); }
  double weighted_sum() const { return weighted_sum_.item<double>(); }
  void set_weighted_sum(double sum) { weighted_sum_.fill_(sum); }

 private:
  DAdaptationOptions options_;
  RankSums ranks_;
  torch::Tensor d_, weighted_sum_, k_;  // fp64 on the CPU, one element each
};

}  // namespace millrace
