#include "optim/flat_rule_optimizer.h"

#include <utility>

#include "optim/ema.h"

namespace millrace {

FlatRuleOptimizer::FlatRuleOptimizer(std::vector<FlatGroup> groups, const RoundingOptions& rounding,
                                     std::vector<std::string> names)
    : Optimizer(std::move(groups)), rounding_(rounding), names_(std::move(names)) {
  for (const FlatGroup& group : this->groups()) {
    std::vector<torch::Tensor>& states = states_.emplace_back();
    for (size_t i = 0; i < names_.size(); ++i) states.push_back(torch::zeros_like(group.master, torch::kFloat32));
  }
}

std::vector<StateTensor> FlatRuleOptimizer::state() const {
  std::vector<StateTensor> tensors;
  for (size_t group = 0; group < states_.size(); ++group) {
    for (size_t i = 0; i < names_.size(); ++i) {
      tensors.push_back({.name = names_[i], .tensor = states_[group][i], .group = group});
    }
  }
  return tensors;
}

void FlatRuleOptimizer::restart() {
  const torch::NoGradGuard no_grad;
  for (const std::vector<torch::Tensor>& states : states_) {
    for (const torch::Tensor& state : states) state.zero_();
  }
}

void FlatRuleOptimizer::set_to_weights(size_t state) {
  const torch::NoGradGuard no_grad;
  for (size_t group = 0; group < states_.size(); ++group) states_[group][state].copy_(groups()[group].master);
}

void FlatRuleOptimizer::run(FlatRule rule, const FlatUpdateNumbers& numbers, size_t group,
                            const std::vector<size_t>& states, const torch::Tensor& coefficient_1,
                            const torch::Tensor& sums_3) {
  for (const RoundingRange& range : rounding_ranges(groups()[group], rounding_.stochastic)) {
    run_range(rule, numbers, group, states, coefficient_1, sums_3, range);
  }
}

void FlatRuleOptimizer::run_with(const torch::Tensor& grad, FlatRule rule, const FlatUpdateNumbers& numbers,
                                 size_t group, const std::vector<size_t>& states) {
  for (const RoundingRange& range : rounding_ranges(groups()[group], rounding_.stochastic)) {
    run_range(rule, numbers, group, states, {}, {}, range, grad);
  }
}

void FlatRuleOptimizer::run_with_sums(FlatRule rule, const FlatUpdateNumbers& numbers, size_t group,
                                      const std::vector<size_t>& states, const torch::Tensor& coefficient_1,
                                      const torch::Tensor& sums_3) {
  const FlatGroup& of = groups()[group];
  const auto run_part = [&](int64_t begin, int64_t end, const torch::Tensor& sums) {
    if (begin == end) return;
    run_range(rule, numbers, group, states, coefficient_1, sums, {.begin = begin, .size = end - begin});
  };
  int64_t begin = 0;
  for (const ParameterRange& range : of.parameters) {
    if (range.primary) continue;
    run_part(begin, range.begin, sums_3);
    run_part(range.begin, range.begin + range.size, torch::zeros_like(sums_3));
    begin = range.begin + range.size;
  }
  run_part(begin, of.master.numel(), sums_3);
}

void FlatRuleOptimizer::rest() {
  for (const FlatGroup& group : groups()) group.grad.zero_();
  if (average() != nullptr) average()->update(step_count());
}

void FlatRuleOptimizer::run_range(FlatRule rule, const FlatUpdateNumbers& numbers, size_t group,
                                  const std::vector<size_t>& states, const torch::Tensor& coefficient_1,
                                  const torch::Tensor& sums_3, const RoundingRange& range, const torch::Tensor& grad) {
  const auto part = [&](const torch::Tensor& whole) {
    return whole.defined() ? whole.narrow(0, range.begin, range.size) : whole;
  };
  const FlatGroup& of = groups()[group];
  FlatUpdateBuffers buffers;
  buffers.param = part(of.master);
  buffers.grad = part(grad.defined() ? grad : of.grad);
  for (const size_t state : states) buffers.states.push_back(part(states_[group][state]));
  buffers.model_copy = part(of.model_copy);
  if (average() != nullptr) buffers.average = part(average()->buffers()[group]);
  buffers.stream = range.stream;
  buffers.first_element = static_cast<uint64_t>(range.offset);
  const FlatUpdateOptions options = {
      .step = step_count(),
      .stochastic_rounding = rounding_.stochastic,
      .seed = rounding_.seed,
      .average_decay = average() != nullptr ? average()->decay_at(step_count()) : 0,
  };
  flat_update(rule, numbers, buffers, options, coefficient_1, sums_3);
}

}  // namespace millrace
