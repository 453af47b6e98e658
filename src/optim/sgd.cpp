#include "optim/sgd.h"

#include <utility>

#include "optim/option_check.h"

namespace millrace {
namespace {

std::vector<std::string> states_of(const SgdOptions& options) {
  if (options.momentum == 0) return {};
  return {"momentum_buffer"};
}

}  // namespace

Sgd::Sgd(std::vector<FlatGroup> groups, const SgdOptions& options)
    : FlatRuleOptimizer(std::move(groups), options.rounding, states_of(options)), options_(options) {
  require_option(options.momentum >= 0 && options.momentum < 1, "momentum", "0 to below 1", options.momentum);
  require_option(options.weight_decay >= 0, "weight_decay", "0 or more", options.weight_decay);
  require_option(!options.nesterov || options.momentum > 0, "momentum", "more than 0 with nesterov", options.momentum);
  require_option(!options.nesterov || options.dampening == 0, "dampening", "0 with nesterov", options.dampening);
}

void Sgd::set_momentum(double momentum) {
  if (options_.momentum == 0) FlatRuleOptimizer::set_momentum(momentum);  // there is no state for it
  options_.momentum = momentum;
}

void Sgd::update(double lr, const torch::Tensor& coefficient_1) {
  for (size_t i = 0; i < groups().size(); ++i) update_group(i, lr, coefficient_1);
}

void Sgd::update_group(size_t group, double lr, const torch::Tensor& coefficient_1) {
  FlatUpdateNumbers numbers;
  numbers.weight_decay = options_.weight_decay;
  numbers.grad_share = options_.nesterov ? 1 : 0;
  numbers.state_share = options_.nesterov ? options_.momentum : 1;
  numbers.beta1 = options_.momentum;
  numbers.one_minus_beta1 = step_count() == 1 ? 1 : 1 - options_.dampening;
  numbers.step_size = lr * groups()[group].lr_factor;
  if (options_.momentum > 0) {
    run(FlatRule::kMomentumSgd, numbers, group, {0}, coefficient_1);
  } else {
    run(FlatRule::kPlainSgd, numbers, group, {}, coefficient_1);
  }
}

}  // namespace millrace
