#include "optim/dadapt_adagrad.h"

#include <utility>

#include "optim/option_check.h"

namespace millrace {
namespace {

namespace adagrad_state {
enum : size_t { kS, kP0, kSumSq };
}

}  // namespace

DAdaptAdaGrad::DAdaptAdaGrad(std::vector<FlatGroup> groups, const DAdaptAdaGradOptions& options, const RankSums& ranks)
    : DAdaptation(std::move(groups), options.estimate, ranks, "DAdaptAdaGrad", {"s", "p0", "sum_sq"}),
      options_(options) {
  require_option(options.momentum >= 0 && options.momentum < 1, "momentum", "0 to below 1", options.momentum);
  require_option(options.eps > 0, "eps", "more than 0", options.eps);
  require_option(options.weight_decay >= 0, "weight_decay", "0 or more", options.weight_decay);
  start();
}

void DAdaptAdaGrad::restart() {
  DAdaptation::restart();
  start();
}

void DAdaptAdaGrad::start() {
  constexpr double kFirstSum = 1e-6;
  const torch::NoGradGuard no_grad;
  set_to_weights(adagrad_state::kP0);
  for (size_t i = 0; i < groups().size(); ++i) state_of(i, adagrad_state::kSumSq).fill_(kFirstSum);
}

void DAdaptAdaGrad::update(double lr, const torch::Tensor& coefficient_1) {
  const double rate = d() * lr;
  FlatUpdateNumbers numbers;
  numbers.weight_decay = options_.weight_decay;
  numbers.grad_share = rate;
  numbers.eps = options_.eps;
  const auto [square, size, scaled_square] =
      sums_of(FlatRule::kDAdaptAdaGradMoments, numbers, {adagrad_state::kS, adagrad_state::kSumSq}, coefficient_1);
  if (size == 0) return rest();
  set_weighted_sum(weighted_sum() + rate * rate * square);
  if (lr > 0) raise_d((scaled_square - weighted_sum()) / size);
  numbers.state_share = options_.momentum;
  numbers.grad_share = 1 - options_.momentum;
  step_weights(FlatRule::kDualAveragingScaledStep, numbers,
               {adagrad_state::kS, adagrad_state::kP0, adagrad_state::kSumSq});
}

}  // namespace millrace
