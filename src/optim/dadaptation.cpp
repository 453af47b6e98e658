#include "optim/dadaptation.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "optim/option_check.h"

namespace millrace {
DAdaptation::DAdaptation(std::vector<FlatGroup> groups, const DAdaptationOptions& options, const RankSums& ranks,
                         const char* rule, std::vector<std::string> states)
    : FlatRuleOptimizer(std::move(groups), options.rounding, std::move(states)),
      options_(options),
      ranks_(ranks),
      d_(torch::full({1}, options.d0, torch::kFloat64)),
      weighted_sum_(torch::zeros({1}, torch::kFloat64)),
      k_(torch::zeros({1}, torch::kFloat64)) {
  require_option(options.d0 > 0, "d0", "more than 0", options.d0);
  require_option(options.growth_rate.value_or(2) > 1, "growth_rate", "more than 1", options.growth_rate.value_or(2));
  require_one_rate(this->groups(), rule);
}

void DAdaptation::restart() {
  FlatRuleOptimizer::restart();
  d_.fill_(options_.d0);
  weighted_sum_.zero_();
  k_.zero_();
}

std::vector<StateTensor> DAdaptation::state() const {
  std::vector<StateTensor> tensors = FlatRuleOptimizer::state();
  constexpr auto kOptimizer = StateTensor::Extent::kOptimizer;
  tensors.push_back({.name = "d", .tensor = d_, .extent = kOptimizer});
  tensors.push_back({.name = "weighted_sum", .tensor = weighted_sum_, .extent = kOptimizer});
  tensors.push_back({.name = "k", .tensor = k_, .extent = kOptimizer});
  return tensors;
}

std::array<double, 3> DAdaptation::sums_of(FlatRule rule, const FlatUpdateNumbers& numbers,
                                           const std::vector<size_t>& states, const torch::Tensor& coefficient_1) {
  const torch::Device device = groups().front().master.device();
  const torch::Tensor sums_3 = torch::zeros({3}, torch::dtype(torch::kFloat64).device(device));
  for (size_t i = 0; i < groups().size(); ++i) {
    if (takes_part(i)) run_with_sums(rule, numbers, i, states, coefficient_1, sums_3);
  }
  if (device.is_meta()) return {1, 1, 1};
  ranks_.add(sums_3);
  const torch::Tensor sums = sums_3.to(torch::kCPU);
  return {sums[0].item<double>(), sums[1].item<double>(), sums[2].item<double>()};
}

void DAdaptation::raise_d(double d_hat) {
  const double limit = options_.growth_rate ? d() * *options_.growth_rate : std::numeric_limits<double>::infinity();
  d_.fill_(std::max(d(), std::min(d_hat, limit)));
}

void DAdaptation::step_weights(FlatRule rule, const FlatUpdateNumbers& numbers, const std::vector<size_t>& states,
                               const torch::Tensor& coefficient_1) {
  for (size_t i = 0; i < groups().size(); ++i) {
    if (takes_part(i)) {
      run(rule, numbers, i, states, coefficient_1);
    } else {
      groups()[i].grad.zero_();
    }
  }
  k_ += 1;
}

}  // namespace millrace
