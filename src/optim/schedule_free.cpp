#include "optim/schedule_free.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "optim/option_check.h"

namespace millrace {
namespace {

constexpr size_t kExpAvgSq = 1;  // the state after z

}  // namespace

ScheduleFreeAdamW::ScheduleFreeAdamW(std::vector<FlatGroup> groups, const ScheduleFreeOptions& options)
    : ScheduleFreeOptimizer(std::move(groups), options.rounding, options.beta1, {"exp_avg_sq"}),
      options_(options),
      weight_sum_(torch::zeros({static_cast<int64_t>(this->groups().size())}, torch::kFloat64)),
      lr_max_(torch::zeros_like(weight_sum_)) {
  require_option(options.beta2 >= 0 && options.beta2 < 1, "beta2", "0 to below 1", options.beta2);
  require_option(options.eps >= 0, "eps", "0 or more", options.eps);
  require_option(options.weight_decay >= 0, "weight_decay", "0 or more", options.weight_decay);
}

void ScheduleFreeAdamW::restart() {
  ScheduleFreeOptimizer::restart();
  weight_sum_.zero_();
  lr_max_.zero_();
}

std::vector<StateTensor> ScheduleFreeAdamW::state() const {
  std::vector<StateTensor> tensors = FlatRuleOptimizer::state();
  tensors.push_back({.name = "weight_sum", .tensor = weight_sum_, .extent = StateTensor::Extent::kOptimizer});
  tensors.push_back({.name = "lr_max", .tensor = lr_max_, .extent = StateTensor::Extent::kOptimizer});
  return tensors;
}

void ScheduleFreeAdamW::update(double lr, const torch::Tensor& coefficient_1) {
  const auto k = static_cast<double>(step_count());
  const double warmup = std::min(1.0, k / static_cast<double>(std::max<int64_t>(1, options_.warmup_steps)));
  FlatUpdateNumbers numbers;
  numbers.weight_decay = options_.weight_decay;
  numbers.beta2 = options_.beta2;
  numbers.one_minus_beta2 = 1 - options_.beta2;
  numbers.bias_correction2 = 1 - std::pow(options_.beta2, k);
  numbers.eps = options_.eps;
  double* const weight_sums = weight_sum_.data_ptr<double>();
  double* const lr_maxima = lr_max_.data_ptr<double>();
  for (size_t i = 0; i < groups().size(); ++i) {
    numbers.step_size = lr * groups()[i].lr_factor * warmup;
    lr_maxima[i] = std::max(lr_maxima[i], numbers.step_size);
    const double weight = std::pow(k, options_.r) * std::pow(lr_maxima[i], options_.weight_lr_power);
    weight_sums[i] += weight;
    numbers.mix = weight_sums[i] > 0 ? weight / weight_sums[i] : 0;
    numbers.lookahead = numbers.step_size * (options_.beta1 * (1 - numbers.mix) - 1);
    run(FlatRule::kScheduleFree, numbers, i, {kZ, kExpAvgSq}, coefficient_1);
  }
}

}  // namespace millrace
