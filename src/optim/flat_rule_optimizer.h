// Common base of the rules in kernels/flat_update/: fp32 states with the weights' layout, one pass over each group.
#pragma once

#include <string>
#include <vector>

#include "kernels/flat_update/flat_update.h"
#include "optim/optimizer.h"

namespace millrace {

struct RoundingOptions {
  bool stochastic = true;  // of bf16 masters
  uint64_t seed = 0;
};

class FlatRuleOptimizer : public Optimizer {
 public:
  // States with these names, initially zero.
  FlatRuleOptimizer(std::vector<FlatGroup> groups, const RoundingOptions& rounding, std::vector<std::string> names);

  std::vector<StateTensor> state() const override;
  void restart() override;

 protected:
  bool updates_average() const override { return true; }

  // One pass over a group with these of its states, by index. sums_3: see flat_update(). run_range: over these elements
  // of the group only. run_with: with other numbers, of the group's size, in place of its gradients.
  void run(FlatRule rule, const FlatUpdateNumbers& numbers, size_t group, const std::vector<size_t>& states,
           const torch::Tensor& coefficient_1, const torch::Tensor& sums_3 = {});
  void run_with(const torch::Tensor& grad, FlatRule rule, const FlatUpdateNumbers& numbers, size_t group,
                const std::vector<size_t>& states);
  void run_range(FlatRule rule, const FlatUpdateNumbers& numbers, size_t group, const std::vector<size_t>& states,
                 const torch::Tensor& coefficient_1, const torch::Tensor& sums_3, const RoundingRange& range,
                 const torch::Tensor& grad = {});

  // For a rule with sums that leaves the weights alone. Elements that another rank counts, with tensor parallelism
  // whole parameters, change their states here, too, but are not added to the sums.
  void run_with_sums(FlatRule rule, const FlatUpdateNumbers& numbers, size_t group, const std::vector<size_t>& states,
                     const torch::Tensor& coefficient_1, const torch::Tensor& sums_3);

  void rest();  // an update that changes no weights

  const torch::Tensor& state_of(size_t group, size_t state) const { return states_[group][state]; }
  void set_to_weights(size_t state);  // of every group

 private:
  RoundingOptions rounding_;
  std::vector<std::string> names_;
  std::vector<std::vector<torch::Tensor>> states_;  // [group][state]
};

}  // namespace millrace
