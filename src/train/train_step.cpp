#include "train/train_step.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/log.h"
#include "config/optimizer_rules.h"
#include "optim/clip.h"
#include "optim/optimizer_table.h"
#include "train/numerics_failure.h"
#include "train/parameter_group.h"
#include "train/run_steps.h"

namespace millrace {
TrainStep::TrainStep(Task& task, const RunConfig& config, Communicator& ranks, Peers& peers)
    : task_(task),
      config_(config),
      ranks_(ranks),
      peers_(peers),
      microbatches_(microbatches_per_step(config.training, ranks.mesh().data_size())),
      samples_(microbatches_ * config.training.local_batch_size * ranks.mesh().data_size()),
      expected_weight_(task.expected_weight() * static_cast<double>(microbatches_)),
      optimizer_config_(with_rule_defaults(config.optimizer)),
      schedule_(make_schedule(config)),
      optimizer_(make_optimizer({make_groups(), optimizer_config_,
                                 static_cast<uint64_t>(config.training.seed.value_or(0)), RankSums(ranks.mesh())})),
      average_(make_average()),
      own_ranges_(own_ranges(task.parameters())),
      scale_weight_(expected_weight_) {
  MILLRACE_CHECK(std::isfinite(expected_weight_) && expected_weight_ > 0);
  if (task.parameters().hands_over_gradients()) {
    task.parameters().receive_gradients([this](size_t unit, const torch::Tensor& grad) { receive_unit(unit, grad); });
  }
  // At once, so that an optimizer whose momentum is fixed is refused before the first step.
  if (const auto momentum = schedule_.momentum(0)) optimizer_->set_momentum(*momentum);
}

std::vector<FlatGroup> TrainStep::make_groups() {
  FlatParameters& parameters = task_.parameters();
  grad_ = parameters.grad();
  if (parameters.hands_over_gradients()) return unit_groups(parameters);
  // Sums of many narrow gradients are kept in fp32, unless parallel/ makes the sums.
  if (microbatches_ > 1 && !parameters.sums_microbatches()) {
    accumulated_ = torch::zeros_like(grad_, torch::kFloat32);
    grad_ = accumulated_;
  }
  return parameter_groups(parameters, task_.rate_groups(), grad_);
}

void TrainStep::begin_in_backward(int64_t step) {
  const std::optional<double> weight = task_.arrived_weight();
  if (!weight) throw ConfigError("[optimizer.in_backward] expected false with this task, got true");
  changes_weights_ = *weight > 0;
  scale_weight_ = changes_weights_ ? *weight : expected_weight_;
  squares_1_ = torch::zeros({1}, torch::dtype(torch::kFloat64).device(task_.parameters().master().device()));
  bad_gradient_.clear();
  if (!changes_weights_) return;
  if (const auto momentum = schedule_.momentum(step - 1)) optimizer_->set_momentum(*momentum);
  optimizer_->begin_step(rate_of(step));
}

// Where a unit's backward pass has ended: its gradients are the whole step's, and update its weights.
void TrainStep::receive_unit(size_t unit, const torch::Tensor& grad) {
  const torch::Tensor square_1 = own_squares(grad, {{0, grad.numel()}});
  squares_1_.add_(square_1);
  if (!bad_gradient_.empty() || !changes_weights_) return;
  FlatGroup group = optimizer_->groups()[unit];
  group.grad = grad;
  try {
    finite_norm(grad_norm_of_sum(square_1, /*max_norm=*/0), {group});
    optimizer_->step_group(unit, grad);
  } catch (const NumericsError& error) {
    bad_gradient_ = error.what();
  }
}

std::unique_ptr<MovingAverage> TrainStep::make_average() {
  const double decay = optimizer_config_.ema_decay.value_or(0);
  if (decay == 0) return nullptr;
  auto average = std::make_unique<MovingAverage>(optimizer_->groups(), decay);
  optimizer_->set_average(average.get());
  return average;
}

std::unique_ptr<EvaluationWeights> TrainStep::evaluation_weights() {
  return average_ ? average_->evaluation_weights() : optimizer_->evaluation_weights();
}

StepShare TrainStep::compute(int64_t step) {
  FlatParameters& parameters = task_.parameters();
  StepShare share;
  if (parameters.hands_over_gradients()) begin_in_backward(step);
  for (int64_t i = 0; i < microbatches_; ++i) {
    if (i > 0) task_.next_microbatch();
    parameters.set_last_microbatch(i + 1 == microbatches_);
    if (microbatches_ > 1) {
      parameters.round_sums_at_random(static_cast<uint64_t>(config_.training.seed.value_or(0)),
                                      (step - 1) * microbatches_ + i + 1);
    }
    // In a scale that is known before the weights, so that narrow gradients have the magnitude of a mean's.
    share.add(task_.train_microbatch(1 / scale_weight_));
    if (accumulated_.defined()) {
      accumulated_.add_(parameters.grad());
      parameters.grad().zero_();
    }
  }
  parameters.finish_backward();
  if (parameters.hands_over_gradients()) {
    share.squares_1 = squares_1_;
    share.bad_gradient = bad_gradient_;
  } else {
    share.squares_1 = own_squares(grad_, own_ranges_);
  }
  return share;
}

StepMetrics TrainStep::update(int64_t step, const StepShare& share, const StepTotals& totals) {
  // From sums in the scale 1 / expected weight to the mean: exactly 1 for tasks that know their weights in advance.
  const bool is_empty = totals.weight == 0;
  const double ratio = is_empty ? 0 : scale_weight_ / totals.weight;
  StepMetrics metrics;
  metrics.step = step;
  metrics.loss = is_empty ? std::numeric_limits<double>::quiet_NaN() : totals.loss_sum * ratio;
  metrics.grad_norm = static_cast<float>(std::sqrt(totals.squares) * ratio);
  metrics.lr = rate_of(step);
  metrics.samples = totals.samples;
  metrics.tokens = totals.tokens;
  metrics.weight = totals.weight;
  metrics.data_seconds = totals.data_seconds;
  metrics.sample_digest = totals.sample_digest;

  const bool has_loss = std::isfinite(is_empty ? totals.loss_sum : metrics.loss);
  if (totals.bad_losses > 0 || !has_loss || !std::isfinite(metrics.grad_norm)) {
    throw_numerics_error(step, share, totals, task_, optimizer_->groups(), ranks_, peers_);
  }
  if (is_empty) {
    if (peers_.rank() == 0) {
      log_warning("[step ", step, "] expected something to learn from, got weight 0 on all ranks: no update");
    }
    if (grad_.defined()) grad_.zero_();
    return metrics;
  }
  if (task_.parameters().hands_over_gradients()) {
    optimizer_->end_step();
    task_.weights_changed();
    return metrics;
  }
  const torch::Tensor factor_1 = grad_norm_of_sum(totals.squares_1, config_.training.max_norm, ratio).coefficient_1;
  task_.gradients_ready(step, grad_, factor_1);
  if (const auto momentum = schedule_.momentum(step - 1)) optimizer_->set_momentum(*momentum);
  optimizer_->step(metrics.lr, factor_1);
  const double effective_lr = optimizer_->effective_lr(metrics.lr);
  if (effective_lr != metrics.lr) metrics.effective_lr = effective_lr;
  task_.weights_changed();
  return metrics;
}

}  // namespace millrace
