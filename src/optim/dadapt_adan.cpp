#include "optim/dadapt_adan.h"

#include <utility>

#include "optim/option_check.h"

namespace millrace {
namespace {

namespace adan_state {
enum : size_t { kExpAvg, kExpAvgDiff, kExpAvgSq, kS, kPreviousGrad };
}

}  // namespace

DAdaptAdan::DAdaptAdan(std::vector<FlatGroup> groups, const DAdaptAdanOptions& options, const RankSums& ranks)
    : DAdaptation(std::move(groups), options.estimate, ranks, options.ip ? "DAdaptAdanIP" : "DAdaptAdan",
                  {"exp_avg", "exp_avg_diff", "exp_avg_sq", "s", "previous_grad"}),
      options_(options) {
  require_option(options.beta1 >= 0 && options.beta1 < 1, "beta1", "0 to below 1", options.beta1);
  require_option(options.beta2 >= 0 && options.beta2 < 1, "beta2", "0 to below 1", options.beta2);
  require_option(options.beta3 >= 0 && options.beta3 < 1, "beta3", "0 to below 1", options.beta3);
  require_option(options.eps > 0, "eps", "more than 0", options.eps);
  require_option(options.weight_decay >= 0, "weight_decay", "0 or more", options.weight_decay);
}

void DAdaptAdan::update(double lr, const torch::Tensor& coefficient_1) {
  const double rate = d() * lr;  // with the previous d
  if (!estimate_d(lr, coefficient_1)) return rest();
  FlatUpdateNumbers numbers;
  numbers.beta2 = options_.beta2;
  numbers.eps = options_.eps;
  if (options_.no_prox) {
    numbers.decay = 1 - options_.weight_decay * rate;
    numbers.step_size = 1;  // the averages include the rate
  } else {
    numbers.decay = numbers.step_size = 1 / (1 + options_.weight_decay * rate);
  }
  step_weights(FlatRule::kAdanStep, numbers, {adan_state::kExpAvg, adan_state::kExpAvgDiff, adan_state::kExpAvgSq});
}

// Updates the averages, with a rate of 0 those of squares alone. Returns false if s is still zero.
bool DAdaptAdan::estimate_d(double lr, const torch::Tensor& coefficient_1) {
  const double rate = d() * lr, beta3 = options_.beta3;
  FlatUpdateNumbers numbers;
  numbers.beta1 = options_.beta1;
  numbers.one_minus_beta1 = rate * (1 - options_.beta1);
  numbers.beta2 = options_.beta2;
  numbers.one_minus_beta2 = rate * (1 - options_.beta2);
  numbers.beta3 = beta3;
  numbers.one_minus_beta3 = 1 - beta3;
  numbers.grad_share = rate * (1 - beta3);
  numbers.state_share = k() > 0 ? 1 : 0;
  numbers.eps = options_.eps;
  const FlatRule rule = options_.ip ? FlatRule::kDAdaptAdanIpMoments : FlatRule::kDAdaptAdanMoments;
  const auto [product, size, scaled_square] = sums_of(
      rule, numbers,
      {adan_state::kExpAvg, adan_state::kExpAvgDiff, adan_state::kExpAvgSq, adan_state::kS, adan_state::kPreviousGrad},
      coefficient_1);
  if (size == 0) return false;
  if (options_.ip) {
    set_weighted_sum(beta3 * weighted_sum() + (1 - beta3) * rate * product);
  } else {
    set_weighted_sum(beta3 * weighted_sum() + (1 - beta3) * rate * rate * product);
  }
  if (lr > 0) {
    raise_d(options_.ip ? 2 * beta3 / (1 - beta3) * weighted_sum() / size
                        : (scaled_square / (1 - beta3) - weighted_sum()) / size);
  }
  return true;
}

}  // namespace millrace
