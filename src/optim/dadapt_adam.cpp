#include "optim/dadapt_adam.h"

#include <cmath>
#include <utility>

#include "optim/option_check.h"

namespace millrace {
namespace {

namespace adam_state {
enum : size_t { kExpAvg, kExpAvgSq, kS };
}

}  // namespace

DAdaptAdam::DAdaptAdam(std::vector<FlatGroup> groups, const DAdaptAdamOptions& options, const RankSums& ranks)
    : DAdaptation(std::move(groups), options.estimate, ranks, options.preprint ? "DAdaptAdamPreprint" : "DAdaptAdam",
                  {"exp_avg", "exp_avg_sq", "s"}),
      options_(options) {
  require_option(options.beta1 >= 0 && options.beta1 < 1, "beta1", "0 to below 1", options.beta1);
  require_option(options.beta2 >= 0 && options.beta2 < 1, "beta2", "0 to below 1", options.beta2);
  require_option(options.eps > 0, "eps", "more than 0", options.eps);
  require_option(options.weight_decay >= 0, "weight_decay", "0 or more", options.weight_decay);
}

void DAdaptAdam::update(double lr, const torch::Tensor& coefficient_1) {
  if (lr == 0) return rest();
  const double correction = options_.use_bias_correction ? std::sqrt(1 - std::pow(options_.beta2, k() + 1)) /
                                                               (1 - std::pow(options_.beta1, k() + 1))
                                                         : 1;
  const double rate = d() * lr * correction;  // with the previous d
  if (!estimate_d(rate, coefficient_1)) return rest();
  FlatUpdateNumbers numbers;
  numbers.decay = options_.decouple ? 1 - options_.weight_decay * rate : 1;
  numbers.step_size = 1;  // m includes the rate
  numbers.eps = options_.eps;
  step_weights(FlatRule::kProdigyStep, numbers, {adam_state::kExpAvg, adam_state::kExpAvgSq});
}

// Updates the averages. Returns false for a zero gradient.
bool DAdaptAdam::estimate_d(double rate, const torch::Tensor& coefficient_1) {
  const double beta3 = options_.preprint ? options_.beta2 : std::sqrt(options_.beta2);
  FlatUpdateNumbers numbers;
  numbers.weight_decay = options_.decouple ? 0 : options_.weight_decay;
  numbers.beta1 = options_.beta1;
  numbers.one_minus_beta1 = rate * (1 - options_.beta1);
  numbers.beta2 = options_.beta2;
  numbers.one_minus_beta2 = 1 - options_.beta2;
  numbers.beta3 = beta3;
  numbers.grad_share = rate * (1 - beta3);
  numbers.eps = options_.eps;
  const FlatRule rule = options_.preprint ? FlatRule::kDAdaptPreprintMoments : FlatRule::kDAdaptAdamMoments;
  const auto [product, size, scaled_square] =
      sums_of(rule, numbers, {adam_state::kExpAvg, adam_state::kExpAvgSq, adam_state::kS}, coefficient_1);
  if (size == 0) return false;
  if (options_.preprint) {
    set_weighted_sum(beta3 * weighted_sum() + (1 - beta3) * rate * rate * product);
    raise_d((scaled_square / (1 - beta3) - weighted_sum()) / size);
  } else {
    set_weighted_sum(beta3 * weighted_sum() + (1 - beta3) * rate * product);
    raise_d(weighted_sum() / ((1 - beta3) * size));
  }
  return true;
}

}  // namespace millrace
