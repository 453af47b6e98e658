// Common base of the schedule-free rules. Training takes gradients at y, which the masters hold; a state keeps z, which
// takes the steps; x, the average of z and the better weights, is computed for samples, validation and the finished
// model:
//   y = (1 - beta1) z + beta1 x, and so x = y + (1 - 1 / beta1) (z - y)
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "optim/flat_rule_optimizer.h"

namespace millrace {

class ScheduleFreeOptimizer : public FlatRuleOptimizer {
 public:
  void restart() override;
  std::unique_ptr<EvaluationWeights> evaluation_weights() override;
  std::vector<torch::Tensor> averaged_weights() const override;

 protected:
  static constexpr size_t kZ = 0;  // the first state

  // Throws ConfigError unless 0 < beta1 < 1. other_states: their names, after z.
  ScheduleFreeOptimizer(std::vector<FlatGroup> groups, const RoundingOptions& rounding, double beta1,
                        const std::vector<std::string>& other_states);

 private:
  torch::Tensor averaged(size_t group, int64_t begin, int64_t end) const;

  double beta1_;
};

}  // namespace millrace
