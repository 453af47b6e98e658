#include "optim/adam_optimizer.h"

#include "kernels/adamw/adamw.h"
#include "nn/cpu_allocator.h"
#include "optim/ema.h"
#include "optim/option_check.h"

namespace millrace {
namespace {

AdamWBuffers part_of(const AdamWBuffers& whole, const RoundingRange& range) {
  AdamWBuffers part = whole;
  for (torch::Tensor* buffer :
       {&part.param, &part.grad, &part.exp_avg, &part.exp_avg_sq, &part.model_copy, &part.ema}) {
    if (buffer->defined()) *buffer = buffer->narrow(0, range.begin, range.size);
  }
  part.stream = range.stream;
  part.first_element = static_cast<uint64_t>(range.offset);
  return part;
}

// The gradient with clipping and L2 decay applied, in fp32.
torch::Tensor decayed_gradient(const FlatGroup& group, double weight_decay, const torch::Tensor& coefficient_1) {
  torch::Tensor grad = group.grad.to(torch::kFloat32);  // itself when it is fp32 already
  if (coefficient_1.defined()) grad.mul_(coefficient_1);
  return grad.add_(group.master, weight_decay);
}

void check_options(const AdamOptimizerOptions& options) {
  require_option(options.beta1 >= 0 && options.beta1 < 1, "beta1", "0 to below 1", options.beta1);
  require_option(options.beta2 >= 0 && options.beta2 < 1, "beta2", "0 to below 1", options.beta2);
  require_option(options.eps >= 0, "eps", "0 or more", options.eps);
  require_option(options.weight_decay >= 0, "weight_decay", "0 or more", options.weight_decay);
}

}  // namespace

AdamOptimizer::AdamOptimizer(std::vector<FlatGroup> groups, const AdamOptimizerOptions& options)
    : Optimizer(std::move(groups)), options_(options) {
  check_options(options_);
  const torch::NoGradGuard no_grad;
  for (const FlatGroup& group : this->groups()) {
    exp_avgs_.push_back(zeros_when_touched(group.master.sizes(), group.master.options()));
    exp_avg_sqs_.push_back(zeros_when_touched(group.master.sizes(), group.master.options()));
  }
}

void AdamOptimizer::restart() {
  const torch::NoGradGuard no_grad;
  for (const torch::Tensor& moment : exp_avgs_) moment.zero_();
  for (const torch::Tensor& moment : exp_avg_sqs_) moment.zero_();
}

void AdamOptimizer::update(double lr, const torch::Tensor& coefficient_1) {
  for (size_t i = 0; i < groups().size(); ++i) update_group(i, lr, coefficient_1);
}

void AdamOptimizer::update_group(size_t index, double lr, const torch::Tensor& coefficient_1) {
  const bool l2 = options_.decay_mode == WeightDecay::kL2 && options_.weight_decay > 0;
  const FlatGroup& group = groups()[index];
  AdamWOptions options;
  options.lr = lr * group.lr_factor;
  options.beta1 = options_.beta1;
  options.beta2 = options_.beta2;
  options.eps = options_.eps;
  options.weight_decay = options_.decay_mode == WeightDecay::kDecoupled ? options_.weight_decay : 0;
  options.step = step_count();
  options.stochastic_rounding = options_.stochastic_rounding;
  options.seed = options_.seed;
  options.ema_decay = average() != nullptr ? average()->decay_at(step_count()) : 0;
  options.zero_grad = true;
  AdamWBuffers buffers;
  buffers.param = group.master;
  buffers.grad = l2 ? decayed_gradient(group, options_.weight_decay, coefficient_1) : group.grad;
  buffers.exp_avg = exp_avgs_[index];
  buffers.exp_avg_sq = exp_avg_sqs_[index];
  buffers.model_copy = group.model_copy;
  if (average() != nullptr) buffers.ema = average()->buffers()[index];
  for (const RoundingRange& range : rounding_ranges(group, options_.stochastic_rounding)) {
    adamw_step(part_of(buffers, range), options, l2 ? torch::Tensor() : coefficient_1);
  }
  if (!buffers.grad.is_same(group.grad)) group.grad.zero_();
}

std::vector<StateTensor> AdamOptimizer::state() const {
  std::vector<StateTensor> tensors;
  for (size_t i = 0; i < groups().size(); ++i) {
    tensors.push_back({.name = "exp_avg", .tensor = exp_avgs_[i], .group = i});
    tensors.push_back({.name = "exp_avg_sq", .tensor = exp_avg_sqs_[i], .group = i});
  }
  return tensors;
}

}  // namespace millrace
