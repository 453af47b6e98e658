#include "optim/adafactor.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "optim/option_check.h"

namespace millrace {
namespace {

void check_options(const AdafactorOptions& options) {
  require_option(options.eps1 >= 0, "eps1", "0 or more", options.eps1);
  require_option(options.eps2 >= 0, "eps2", "0 or more", options.eps2);
  require_option(options.clip_threshold > 0, "clip_threshold", "more than 0", options.clip_threshold);
  require_option(options.decay_rate < 0, "decay_rate", "less than 0", options.decay_rate);
  require_option(!options.beta1 || (*options.beta1 >= 0 && *options.beta1 < 1), "beta1", "0 to below 1",
                 options.beta1.value_or(0));
  require_option(options.weight_decay >= 0, "weight_decay", "0 or more", options.weight_decay);
  require_option(!options.warmup_init || options.relative_step, "warmup_init", "false without relative_step",
                 options.warmup_init);
}

}  // namespace

Adafactor::Adafactor(std::vector<FlatGroup> groups, const AdafactorOptions& options, const RankSums& ranks)
    : Optimizer(std::move(groups)), options_(options), ranks_(ranks), parts_(this->groups(), "Adafactor", {}) {
  check_options(options_);
  if (!options_.beta1) return;
  for (const FlatGroup& group : this->groups()) {
    exp_avgs_.push_back(torch::zeros_like(group.master, torch::kFloat32));
  }
}

void Adafactor::restart() {
  const torch::NoGradGuard no_grad;
  parts_.restart();
  for (const torch::Tensor& exp_avg : exp_avgs_) exp_avg.zero_();
}

std::vector<StateTensor> Adafactor::state() const {
  std::vector<StateTensor> tensors = parts_.state();
  for (size_t i = 0; i < exp_avgs_.size(); ++i) {
    tensors.push_back({.name = "exp_avg", .tensor = exp_avgs_[i], .group = i});
  }
  return tensors;
}

double Adafactor::effective_lr(double lr) const {
  if (!options_.relative_step) return lr;
  const auto t = static_cast<double>(std::max<int64_t>(1, step_count()));
  return std::min(options_.warmup_init ? 1e-6 * t : 1e-2, 1 / std::sqrt(t));
}

// One step: sums over every part, added up over ranks; the averages; sums over the updates; the weights.
class Adafactor::Step {
 public:
  Step(Adafactor& owner, double lr, const torch::Tensor& coefficient_1)
      : owner_(owner),
        options_(owner.options_),
        parts_(owner.parts_),
        kept_(1 - std::pow(static_cast<double>(owner.step_count()), options_.decay_rate)),
        lr_(owner.effective_lr(lr)),
        coefficient_1_(coefficient_1),
        rates_(parts_.parameters.size()) {}

  // The row and column sums of squared gradients of each matrix; the squared weights of each parameter.
  void sum_squares() {
    parts_.sums.zero_();
    for (const Part& part : parts_.parts) {
      const Parameter& parameter = parts_.parameters[part.parameter];
      const torch::Tensor square = gradient(part).square_().add_(options_.eps1);
      if (!parameter.is_factored) part.exp_avg_sq.mul_(kept_).add_(square, 1 - kept_);
      if (!part.primary) continue;  // another rank counts it
      if (parameter.is_factored) parts_.add_to_sums(part, square);
      if (options_.scale_parameter) sum_of(part.parameter).add_(weights(part).to(torch::kFloat32).square().sum());
    }
    owner_.ranks_.add(parts_.sums);
  }

  // Identical on every rank.
  void update_averages() {
    for (size_t i = 0; i < parts_.parameters.size(); ++i) {
      const Parameter& parameter = parts_.parameters[i];
      const double lr = lr_ * owner_.groups()[parameter.group].lr_factor;
      const torch::Tensor mean_square = sum_of(i) / static_cast<double>(parameter.numel);
      rates_[i] = options_.scale_parameter ? mean_square.sqrt().clamp_min(options_.eps2) * lr
                                           : torch::full_like(mean_square, lr);
    }
    factors_ = parts_.move_averages(kept_);
  }

  void sum_updates() {
    parts_.per_parameter.zero_();
    for (const Part& part : parts_.parts) {
      if (part.primary) sum_of(part.parameter).add_(direction(part).square_().sum());
    }
    owner_.ranks_.add(parts_.per_parameter);
  }

  void update_weights() {
    for (const Part& part : parts_.parts) {
      const torch::Tensor& rate = rates_[part.parameter];
      const auto numel = static_cast<double>(parts_.parameters[part.parameter].numel);
      const torch::Tensor rms = (sum_of(part.parameter) / numel).sqrt_();
      torch::Tensor step = direction(part).mul_(rate / (rms / options_.clip_threshold).clamp_min_(1));
      if (options_.beta1) {
        step = part.of(owner_.exp_avgs_[part.group]).mul_(*options_.beta1).add_(step, 1 - *options_.beta1);
      }
      const torch::Tensor p = weights(part).to(torch::kFloat32);
      const torch::Tensor decayed = options_.weight_decay != 0 ? p - p * (rate * options_.weight_decay) : p;
      weights(part).copy_(decayed - step);
      const torch::Tensor& model_copy = owner_.groups()[part.group].model_copy;
      if (model_copy.defined()) part.of(model_copy).copy_(weights(part));
    }
  }

 private:
  using Part = AdafactorParts::Part;
  using Parameter = AdafactorParts::Parameter;

  torch::Tensor weights(const Part& part) const { return part.of(owner_.groups()[part.group].master); }
  // Returns a new tensor.
  torch::Tensor gradient(const Part& part) const {
    const torch::Tensor grad = part.of(owner_.groups()[part.group].grad);
    return coefficient_1_.defined() ? grad.to(torch::kFloat32) * coefficient_1_
                                    : grad.to(torch::kFloat32, /*non_blocking=*/false, /*copy=*/true);
  }
  torch::Tensor direction(const Part& part) const {
    if (part.exp_avg_sq.defined()) return gradient(part) * part.exp_avg_sq.rsqrt();
    return factors_[part.parameter].scale(gradient(part), part);
  }
  torch::Tensor sum_of(size_t parameter) const { return parts_.per_parameter[static_cast<int64_t>(parameter)]; }

  Adafactor& owner_;
  const AdafactorOptions& options_;
  AdafactorParts& parts_;
  double kept_, lr_;
  torch::Tensor coefficient_1_;
  std::vector<torch::Tensor> rates_;              // one number for each parameter
  std::vector<AdafactorParts::Factors> factors_;  // likewise
};

void Adafactor::update(double lr, const torch::Tensor& coefficient_1) {
  Step step(*this, lr, coefficient_1);
  step.sum_squares();
  step.update_averages();
  step.sum_updates();
  step.update_weights();
  for (const FlatGroup& group : groups()) group.grad.zero_();
}

}  // namespace millrace
