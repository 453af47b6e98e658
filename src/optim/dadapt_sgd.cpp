#include "optim/dadapt_sgd.h"

#include <cmath>
#include <utility>

#include "kernels/global_norm/global_norm.h"
#include "optim/option_check.h"

namespace millrace {
namespace {

namespace sgd_state {
enum : size_t { kS, kP0 };
}

}  // namespace

DAdaptSgd::DAdaptSgd(std::vector<FlatGroup> groups, const DAdaptSgdOptions& options, const RankSums& ranks)
    : DAdaptation(std::move(groups), options.estimate, ranks, "DAdaptSGD", {"s", "p0"}),
      options_(options),
      first_norm_(torch::zeros({1}, torch::kFloat64)) {
  require_option(options.momentum >= 0 && options.momentum < 1, "momentum", "0 to below 1", options.momentum);
  require_option(options.weight_decay >= 0, "weight_decay", "0 or more", options.weight_decay);
  set_to_weights(sgd_state::kP0);
}

void DAdaptSgd::restart() {
  DAdaptation::restart();
  first_norm_.zero_();
  set_to_weights(sgd_state::kP0);
}

std::vector<StateTensor> DAdaptSgd::state() const {
  std::vector<StateTensor> tensors = DAdaptation::state();
  tensors.push_back({.name = "first_norm", .tensor = first_norm_, .extent = StateTensor::Extent::kOptimizer});
  return tensors;
}

// Over all ranks, in fp64.
double DAdaptSgd::gradient_norm(const torch::Tensor& coefficient_1) {
  const torch::Device device = groups().front().master.device();
  const torch::Tensor square = torch::zeros({1}, torch::dtype(torch::kFloat64).device(device));
  const torch::Tensor of_others = torch::zeros_like(square);  // parameters that another rank counts
  for (size_t i = 0; i < groups().size(); ++i) {
    if (!takes_part(i)) continue;
    add_sum_of_squares(groups()[i].grad, square);
    for (const ParameterRange& range : groups()[i].parameters) {
      if (!range.primary) add_sum_of_squares(range.view(groups()[i].grad), of_others);
    }
  }
  if (device.is_meta()) return 1;
  square.sub_(of_others);
  ranks().add(square);
  const double coefficient = coefficient_1.defined() ? coefficient_1.item<double>() : 1;
  return std::sqrt(square.item<double>()) * coefficient;
}

void DAdaptSgd::update(double lr, const torch::Tensor& coefficient_1) {
  if (lr == 0) return rest();
  if (k() == 0) first_norm_.fill_(gradient_norm(coefficient_1));
  const double first_norm = first_norm_.item<double>();
  if (first_norm == 0) return rest();
  const double rate = d() * lr / first_norm;
  FlatUpdateNumbers numbers;
  numbers.weight_decay = options_.weight_decay;
  numbers.grad_share = rate;
  const auto [product, square, unused] = sums_of(FlatRule::kDAdaptSgdMoments, numbers, {sgd_state::kS}, coefficient_1);
  if (square == 0) return rest();
  set_weighted_sum(weighted_sum() + rate * product);
  raise_d(2 * weighted_sum() / std::sqrt(square));
  numbers.state_share = options_.momentum;
  numbers.grad_share = 1 - options_.momentum;
  step_weights(FlatRule::kDualAveragingStep, numbers, {sgd_state::kS, sgd_state::kP0});
}

}  // namespace millrace
