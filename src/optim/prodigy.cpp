#include "optim/prodigy.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "optim/option_check.h"
#include "optim/prodigy_slices.h"

namespace millrace {
namespace {

namespace state {
enum : size_t { kExpAvg, kExpAvgSq, kS, kP0 };
}

std::vector<std::string> states_of(const ProdigyOptions& options) {
  if (options.slice_p > 1) return {"exp_avg", "exp_avg_sq"};
  return {"exp_avg", "exp_avg_sq", "s", "p0"};
}

torch::Tensor scalar(double value) {
  return torch::full({1}, value, torch::kFloat64);
}

void check_options(const ProdigyOptions& options) {
  require_option(options.beta1 >= 0 && options.beta1 < 1, "beta1", "0 to below 1", options.beta1);
  require_option(options.beta2 >= 0 && options.beta2 < 1, "beta2", "0 to below 1", options.beta2);
  require_option(!options.beta3 || (*options.beta3 >= 0 && *options.beta3 < 1), "beta3", "0 to below 1",
                 options.beta3.value_or(0));
  require_option(options.eps > 0, "eps", "more than 0", options.eps);
  require_option(options.weight_decay >= 0, "weight_decay", "0 or more", options.weight_decay);
  require_option(options.d0 > 0, "d0", "more than 0", options.d0);
  require_option(options.d_coef > 0, "d_coef", "more than 0", options.d_coef);
  require_option(options.growth_rate.value_or(2) > 1, "growth_rate", "more than 1", options.growth_rate.value_or(2));
  require_option(options.slice_p >= 1, "slice_p", "1 or more", static_cast<double>(options.slice_p));
}

}  // namespace

Prodigy::Prodigy(std::vector<FlatGroup> groups, const ProdigyOptions& options, const RankSums& ranks)
    : FlatRuleOptimizer(std::move(groups), options.rounding, states_of(options)),
      options_(options),
      ranks_(ranks),
      d_(scalar(options.d0)),
      d_max_(scalar(options.d0)),
      d_numerator_(scalar(0)),
      k_(scalar(0)) {
  check_options(options_);
  require_one_rate(this->groups(), "Prodigy");
  if (options_.slice_p > 1) {
    slices_ = std::make_unique<ProdigySlices>(this->groups(), options_.slice_p);
  } else {
    set_to_weights(state::kP0);
  }
}

Prodigy::~Prodigy() = default;

void Prodigy::restart() {
  FlatRuleOptimizer::restart();
  d_.fill_(options_.d0);
  d_max_.fill_(options_.d0);
  d_numerator_.zero_();
  k_.zero_();
  if (slices_) {
    slices_->restart();
  } else {
    set_to_weights(state::kP0);
  }
}

std::vector<StateTensor> Prodigy::state() const {
  std::vector<StateTensor> tensors = FlatRuleOptimizer::state();
  if (slices_) {
    for (StateTensor& state : slices_->state()) tensors.push_back(std::move(state));
  }
  constexpr auto kOptimizer = StateTensor::Extent::kOptimizer;
  tensors.push_back({.name = "d", .tensor = d_, .extent = kOptimizer});
  tensors.push_back({.name = "d_max", .tensor = d_max_, .extent = kOptimizer});
  tensors.push_back({.name = "d_numerator", .tensor = d_numerator_, .extent = kOptimizer});
  tensors.push_back({.name = "k", .tensor = k_, .extent = kOptimizer});
  return tensors;
}

void Prodigy::update(double lr, const torch::Tensor& coefficient_1) {
  if (lr == 0) return rest();
  const double k = k_.item<double>();
  const double bias_correction = options_.use_bias_correction ? std::sqrt(1 - std::pow(options_.beta2, k + 1)) /
                                                                    (1 - std::pow(options_.beta1, k + 1))
                                                              : 1;
  const double scaled_lr = d() * lr * bias_correction;  // with the previous d
  if (!estimate_d(scaled_lr, lr, coefficient_1)) return rest();
  FlatUpdateNumbers numbers;
  numbers.decay = options_.decouple ? 1 - options_.weight_decay * scaled_lr : 1;
  numbers.step_size = scaled_lr;
  numbers.eps = d() * options_.eps;
  for (size_t i = 0; i < groups().size(); ++i) {
    if (takes_part(i)) {
      run(FlatRule::kProdigyStep, numbers, i, {state::kExpAvg, state::kExpAvgSq}, {});
    } else {
      groups()[i].grad.zero_();
    }
  }
  k_ += 1;
}

// The first pass over memory. Returns false for a zero gradient.
bool Prodigy::estimate_d(double scaled_lr, double lr, const torch::Tensor& coefficient_1) {
  const double d = this->d(), d0 = options_.d0;
  FlatUpdateNumbers numbers;
  numbers.weight_decay = options_.decouple ? 0 : options_.weight_decay;
  numbers.beta1 = options_.beta1;
  numbers.one_minus_beta1 = d * (1 - options_.beta1);
  numbers.beta2 = options_.beta2;
  numbers.one_minus_beta2 = d * d * (1 - options_.beta2);
  numbers.beta3 = options_.beta3.value_or(std::sqrt(options_.beta2));
  numbers.grad_share = (d / d0) * (options_.safeguard_warmup ? d : scaled_lr);
  const torch::Device device = groups().front().master.device();
  const torch::Tensor sums_3 = torch::zeros({3}, torch::dtype(torch::kFloat64).device(device));
  for (size_t i = 0; i < groups().size(); ++i) {
    if (takes_part(i)) gather(numbers, i, coefficient_1, sums_3);
  }
  if (device.is_meta()) return true;  // a plan of memory, without numbers
  ranks_.add(sums_3);
  const torch::Tensor sums = sums_3.to(torch::kCPU);  // waits for the device
  const double inner_product = sums[0].item<double>(), denominator = sums[1].item<double>();
  if (denominator == 0 || lr < 0) return false;

  const double numerator = numbers.beta3 * d_numerator_.item<double>() + (d / d0) * scaled_lr * inner_product;
  const double d_hat = options_.d_coef * numerator / denominator;
  const double now = d == d0 ? std::max(d, d_hat) : d;
  const double d_max = std::max(d_max_.item<double>(), d_hat);
  const double limit = options_.growth_rate ? now * *options_.growth_rate : std::numeric_limits<double>::infinity();
  d_numerator_.fill_(numerator);
  d_max_.fill_(d_max);
  d_.fill_(std::min(d_max, limit));
  return true;
}

void Prodigy::gather(const FlatUpdateNumbers& numbers, size_t group, const torch::Tensor& coefficient_1,
                     const torch::Tensor& sums_3) {
  if (slices_) {
    slices_->gather(group, numbers.beta3, numbers.grad_share, numbers.weight_decay, coefficient_1, sums_3);
    run_range(FlatRule::kScaledMoments, numbers, group, {state::kExpAvg, state::kExpAvgSq}, coefficient_1, {},
              {.size = groups()[group].master.numel()});
    return;
  }
  run_with_sums(FlatRule::kProdigyMoments, numbers, group, {state::kExpAvg, state::kExpAvgSq, state::kS, state::kP0},
                coefficient_1, sums_3);
}

}  // namespace millrace
