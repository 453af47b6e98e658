#include "optim/optimizer.h"

#include <utility>

#include "base/error.h"
#include "optim/ema.h"

namespace millrace {

Optimizer::Optimizer(std::vector<FlatGroup> groups) : groups_(std::move(groups)) {
  check_groups(groups_);
}

void Optimizer::step(double lr, const torch::Tensor& coefficient_1) {
  const torch::NoGradGuard no_grad;
  ++step_count_;
  update(lr, coefficient_1);
  end_step();
}

void Optimizer::begin_step(double lr) {
  MILLRACE_CHECK(steps_by_group());
  ++step_count_;
  begun_lr_ = lr;
}

void Optimizer::step_group(size_t group, const torch::Tensor& grad) {
  const torch::NoGradGuard no_grad;
  groups_[group].grad = grad;
  update_group(group, begun_lr_, {});
  groups_[group].grad = torch::Tensor();
}

void Optimizer::end_step() {
  const torch::NoGradGuard no_grad;
  if (average_ != nullptr && !updates_average()) average_->update(step_count_);
}

void Optimizer::update_group(size_t /*group*/, double /*lr*/, const torch::Tensor& /*coefficient_1*/) {
  throw LogicError("[optimizer] expected a rule that steps group by group");
}

void Optimizer::set_momentum(double /*momentum*/) {
  throw ConfigError(
      "[lr_scheduler.cycle_momentum] expected false with this optimizer, whose momentum is fixed (AdamW, Adam, "
      "AdamW8bit, Lion, Prodigy and SGD with momentum take another one for each step)");
}

void Optimizer::set_average(MovingAverage* average) {
  MILLRACE_CHECK(average == nullptr || average->buffers().size() == groups_.size());
  average_ = average;
}

}  // namespace millrace
