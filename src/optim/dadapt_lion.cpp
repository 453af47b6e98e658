#include "optim/dadapt_lion.h"

#include <cmath>
#include <utility>

#include "optim/option_check.h"

namespace millrace {
namespace {

namespace lion_state {
enum : size_t { kExpAvg, kS };
}

}  // namespace

DAdaptLion::DAdaptLion(std::vector<FlatGroup> groups, const DAdaptLionOptions& options, const RankSums& ranks)
    : DAdaptation(std::move(groups), options.estimate, ranks, "DAdaptLion", {"exp_avg", "s"}), options_(options) {
  require_option(options.beta1 >= 0 && options.beta1 < 1, "beta1", "0 to below 1", options.beta1);
  require_option(options.beta2 >= 0 && options.beta2 < 1, "beta2", "0 to below 1", options.beta2);
  require_option(options.weight_decay >= 0, "weight_decay", "0 or more", options.weight_decay);
}

void DAdaptLion::update(double lr, const torch::Tensor& coefficient_1) {
  const double rate = d() * lr, beta3 = std::sqrt(options_.beta2);
  FlatUpdateNumbers numbers;
  numbers.beta1 = options_.beta1;
  numbers.one_minus_beta1 = 1 - options_.beta1;
  numbers.beta3 = beta3;
  numbers.grad_share = rate * (1 - beta3);
  // Both passes need the previous m: the one that changes the weights, and m, comes last.
  const auto [product, size, unused] =
      sums_of(FlatRule::kDAdaptLionMoments, numbers, {lion_state::kS, lion_state::kExpAvg}, coefficient_1);
  numbers.decay = 1 - options_.weight_decay * rate;
  numbers.step_size = rate;
  numbers.beta2 = options_.beta2;
  numbers.one_minus_beta2 = rate * (1 - options_.beta2);
  step_weights(FlatRule::kLion, numbers, {lion_state::kExpAvg}, coefficient_1);
  if (size == 0) return;
  set_weighted_sum(beta3 * weighted_sum() + (1 - beta3) * rate * product);
  if (lr > 0) raise_d(weighted_sum() / ((1 - beta3) * size));
}

}  // namespace millrace
