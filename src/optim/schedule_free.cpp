#include "optim/schedule_free.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "optim/option_check.h"
#include "optim/rectification.h"

namespace millrace {
namespace {

using Rule = ScheduleFreeOptions::Rule;

constexpr size_t kExpAvgSq = 1;  // the state after z

std::vector<std::string> other_states(const ScheduleFreeOptions& options) {
  if (options.rule == Rule::kSgd) return {};
  return {"exp_avg_sq"};
}

}  // namespace

ScheduleFree::ScheduleFree(std::vector<FlatGroup> groups, const ScheduleFreeOptions& options)
    : ScheduleFreeOptimizer(std::move(groups), options.rounding, options.beta1, other_states(options)),
      options_(options),
      weight_sum_(torch::zeros({static_cast<int64_t>(this->groups().size())}, torch::kFloat64)),
      lr_max_(torch::zeros_like(weight_sum_)) {
  require_option(options.beta2 >= 0 && options.beta2 < 1, "beta2", "0 to below 1", options.beta2);
  require_option(options.eps >= 0, "eps", "0 or more", options.eps);
  require_option(options.weight_decay >= 0, "weight_decay", "0 or more", options.weight_decay);
}

void ScheduleFree::restart() {
  ScheduleFreeOptimizer::restart();
  weight_sum_.zero_();
  lr_max_.zero_();
}

std::vector<StateTensor> ScheduleFree::state() const {
  std::vector<StateTensor> tensors = FlatRuleOptimizer::state();
  tensors.push_back({.name = "weight_sum", .tensor = weight_sum_, .extent = StateTensor::Extent::kOptimizer});
  tensors.push_back({.name = "lr_max", .tensor = lr_max_, .extent = StateTensor::Extent::kOptimizer});
  return tensors;
}

void ScheduleFree::update(double lr, const torch::Tensor& coefficient_1) {
  const auto k = static_cast<double>(step_count());
  FlatUpdateNumbers numbers;
  numbers.weight_decay = options_.weight_decay;
  numbers.beta2 = options_.beta2;
  numbers.one_minus_beta2 = 1 - options_.beta2;
  numbers.bias_correction2 = 1 - std::pow(options_.beta2, k);
  numbers.eps = options_.eps;
  double share = std::min(1.0, k / static_cast<double>(std::max<int64_t>(1, options_.warmup_steps)));  // of lr
  if (options_.rule == Rule::kRAdam) {
    const std::optional<double> factor = rectification(options_.beta2, k);
    share = factor.value_or(options_.silent_sgd_phase ? 0 : 1);
    if (!factor) {  // the gradient is divided by sqrt(v / infinity) + 1
      numbers.bias_correction2 = std::numeric_limits<double>::infinity();
      numbers.eps = 1;
    }
  }
  double* const weight_sums = weight_sum_.data_ptr<double>();
  double* const lr_maxima = lr_max_.data_ptr<double>();
  for (size_t i = 0; i < groups().size(); ++i) {
    numbers.step_size = lr * groups()[i].lr_factor * share;
    lr_maxima[i] = std::max(lr_maxima[i], numbers.step_size);
    const double weight = std::pow(k, options_.r) * std::pow(lr_maxima[i], options_.weight_lr_power);
    weight_sums[i] += weight;
    numbers.mix = weight_sums[i] > 0 ? weight / weight_sums[i] : 0;
    numbers.lookahead = numbers.step_size * (options_.beta1 * (1 - numbers.mix) - 1);
    if (options_.rule == Rule::kSgd) {
      run(FlatRule::kScheduleFreeStep, numbers, i, {kZ}, coefficient_1);
    } else {
      run(FlatRule::kScheduleFree, numbers, i, {kZ, kExpAvgSq}, coefficient_1);
    }
  }
}

}  // namespace millrace
