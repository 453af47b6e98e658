#include "optim/came.h"

#include <utility>

#include "optim/option_check.h"

namespace millrace {

Came::Came(std::vector<FlatGroup> groups, const CameOptions& options, const RankSums& ranks)
    : Optimizer(std::move(groups)),
      options_(options),
      ranks_(ranks),
      squares_(this->groups(), "CAME", {}),
      residuals_(this->groups(), "CAME", {.name = "exp_avg_res", .includes_unfactored = false}) {
  require_option(options.beta1 >= 0 && options.beta1 < 1, "beta1", "0 to below 1", options.beta1);
  require_option(options.beta2 >= 0 && options.beta2 < 1, "beta2", "0 to below 1", options.beta2);
  require_option(options.beta3 >= 0 && options.beta3 < 1, "beta3", "0 to below 1", options.beta3);
  require_option(options.eps1 >= 0, "eps1", "0 or more", options.eps1);
  require_option(options.eps2 >= 0, "eps2", "0 or more", options.eps2);
  require_option(options.clip_threshold > 0, "clip_threshold", "more than 0", options.clip_threshold);
  require_option(options.weight_decay >= 0, "weight_decay", "0 or more", options.weight_decay);
  for (const FlatGroup& group : this->groups()) {
    exp_avgs_.push_back(torch::zeros_like(group.master, torch::kFloat32));
  }
}

void Came::restart() {
  const torch::NoGradGuard no_grad;
  squares_.restart();
  residuals_.restart();
  for (const torch::Tensor& exp_avg : exp_avgs_) exp_avg.zero_();
}

std::vector<StateTensor> Came::state() const {
  std::vector<StateTensor> tensors = squares_.state();
  for (StateTensor& state : residuals_.state()) tensors.push_back(std::move(state));
  for (size_t i = 0; i < exp_avgs_.size(); ++i) {
    tensors.push_back({.name = "exp_avg", .tensor = exp_avgs_[i], .group = i});
  }
  return tensors;
}

// One step: sums over every part, added up over ranks, and the means of squares; sums over the updates; their average
// and the means of residuals; the weights.
class Came::Step {
 public:
  Step(Came& owner, double lr, const torch::Tensor& coefficient_1)
      : owner_(owner), options_(owner.options_), lr_(lr), coefficient_1_(coefficient_1) {}

  void average_squares() {
    AdafactorParts& squares = owner_.squares_;
    squares.sums.zero_();
    for (const Part& part : squares.parts) {
      const torch::Tensor square = gradient(part).square_().add_(options_.eps1);
      if (part.exp_avg_sq.defined()) {
        part.exp_avg_sq.mul_(options_.beta2).add_(square, 1 - options_.beta2);
      } else if (part.primary) {  // otherwise another rank counts it
        squares.add_to_sums(part, square);
      }
    }
    owner_.ranks_.add(squares.sums);
    square_factors_ = squares.move_averages(options_.beta2);
  }

  void sum_updates() {
    AdafactorParts& squares = owner_.squares_;
    squares.per_parameter.zero_();
    for (const Part& part : squares.parts) {
      if (part.primary) squares.per_parameter[index_of(part)].add_(direction(part).square_().sum());
    }
    owner_.ranks_.add(squares.per_parameter);
  }

  void average_updates() {
    AdafactorParts& residuals = owner_.residuals_;
    residuals.sums.zero_();
    for (const Part& part : owner_.squares_.parts) {
      const torch::Tensor update = limited(part), exp_avg = average(part);
      exp_avg.mul_(options_.beta1).add_(update, 1 - options_.beta1);
      if (part.exp_avg_sq.defined() || !part.primary) continue;
      residuals.add_to_sums(part, (update - exp_avg).square_().add_(options_.eps2));
    }
    owner_.ranks_.add(residuals.sums);
    residual_factors_ = residuals.move_averages(options_.beta3);
  }

  void update_weights() {
    for (const Part& part : owner_.squares_.parts) {
      const FlatGroup& group = owner_.groups()[part.group];
      const double lr = lr_ * group.lr_factor;
      const torch::Tensor step =
          part.exp_avg_sq.defined() ? average(part) : residual_factors_[part.parameter].scale(average(part), part);
      const torch::Tensor weights = part.of(group.master);
      weights.copy_(weights.to(torch::kFloat32) * (1 - options_.weight_decay * lr) - step * lr);
      if (group.model_copy.defined()) part.of(group.model_copy).copy_(weights);
    }
  }

 private:
  using Part = AdafactorParts::Part;
  using Factors = AdafactorParts::Factors;
  static int64_t index_of(const Part& part) { return static_cast<int64_t>(part.parameter); }

  // Returns a new tensor.
  torch::Tensor gradient(const Part& part) const {
    const torch::Tensor grad = part.of(owner_.groups()[part.group].grad);
    return coefficient_1_.defined() ? grad.to(torch::kFloat32) * coefficient_1_
                                    : grad.to(torch::kFloat32, /*non_blocking=*/false, /*copy=*/true);
  }
  torch::Tensor average(const Part& part) const { return part.of(owner_.exp_avgs_[part.group]); }

  torch::Tensor direction(const Part& part) const {
    if (part.exp_avg_sq.defined()) return gradient(part) * part.exp_avg_sq.rsqrt();
    return square_factors_[part.parameter].scale(gradient(part), part);
  }
  // The direction, shortened to clip_threshold.
  torch::Tensor limited(const Part& part) const {
    const auto numel = static_cast<double>(owner_.squares_.parameters[part.parameter].numel);
    const torch::Tensor rms = (owner_.squares_.per_parameter[index_of(part)] / numel).sqrt_();
    return direction(part).div_((rms / options_.clip_threshold).clamp_min_(1));
  }

  Came& owner_;
  const CameOptions& options_;
  double lr_;
  torch::Tensor coefficient_1_;
  std::vector<Factors> square_factors_, residual_factors_;  // of each parameter
};

void Came::update(double lr, const torch::Tensor& coefficient_1) {
  Step step(*this, lr, coefficient_1);
  step.average_squares();
  step.sum_updates();
  step.average_updates();
  step.update_weights();
  for (const FlatGroup& group : groups()) group.grad.zero_();
}

}  // namespace millrace
