#include "optim/lion.h"

#include <utility>

#include "optim/option_check.h"

namespace millrace {

Lion::Lion(std::vector<FlatGroup> groups, const LionOptions& options)
    : FlatRuleOptimizer(std::move(groups), options.rounding, {"exp_avg"}), options_(options) {
  require_option(options.beta1 >= 0 && options.beta1 < 1, "beta1", "0 to below 1", options.beta1);
  require_option(options.beta2 >= 0 && options.beta2 < 1, "beta2", "0 to below 1", options.beta2);
  require_option(options.weight_decay >= 0, "weight_decay", "0 or more", options.weight_decay);
  require_option(!options.decoupled_weight_decay || options.base_lr > 0, "lr", "more than 0 for decoupled_weight_decay",
                 options.base_lr);
}

void Lion::update(double lr, const torch::Tensor& coefficient_1) {
  for (size_t i = 0; i < groups().size(); ++i) update_group(i, lr, coefficient_1);
}

void Lion::update_group(size_t group, double lr, const torch::Tensor& coefficient_1) {
  FlatUpdateNumbers numbers;
  numbers.beta1 = options_.beta1;
  numbers.one_minus_beta1 = 1 - options_.beta1;
  numbers.beta2 = options_.beta2;
  numbers.one_minus_beta2 = 1 - options_.beta2;
  numbers.step_size = lr * groups()[group].lr_factor;
  // A group's factor also applies to its base rate.
  const double decay_rate = options_.decoupled_weight_decay ? lr / options_.base_lr : numbers.step_size;
  numbers.decay = 1 - decay_rate * options_.weight_decay;
  run(FlatRule::kLion, numbers, group, {0}, coefficient_1);
}

}  // namespace millrace
