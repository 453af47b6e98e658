#include "optim/adam_optimizer.h"

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "kernels/adamw/adamw.h"
#include "optim/ema.h"

namespace millrace {
namespace {

// What is rounded stochastically: pieces with streams of their own. Otherwise the whole buffer, in one pass.
std::vector<RoundingRange> rounding_ranges(const FlatGroup& group, bool stochastic) {
  if (stochastic && group.master.scalar_type() != torch::kFloat32 && !group.rounding.empty()) return group.rounding;
  return {{rounding_stream(group.name), 0, group.master.numel(), 0}};
}

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

// The gradient with clipping and L2 decay in it, in fp32.
torch::Tensor decayed_gradient(const FlatGroup& group, double weight_decay, const torch::Tensor& coefficient_1) {
  torch::Tensor grad = group.grad.to(torch::kFloat32);  // itself when it is fp32 already
  if (coefficient_1.defined()) grad.mul_(coefficient_1);
  return grad.add_(group.master, weight_decay);
}

void require(bool good, const char* key, const char* expected, double got) {
  if (!good) throw ConfigError(str("[optimizer.", key, "] expected ", expected, ", got ", got));
}

void check_options(const AdamOptimizerOptions& options) {
  require(options.beta1 >= 0 && options.beta1 < 1, "beta1", "0 to below 1", options.beta1);
  require(options.beta2 >= 0 && options.beta2 < 1, "beta2", "0 to below 1", options.beta2);
  require(options.eps >= 0, "eps", "0 or more", options.eps);
  require(options.weight_decay >= 0, "weight_decay", "0 or more", options.weight_decay);
  require(options.ema_decay >= 0 && options.ema_decay < 1, "ema_decay", "0 to below 1", options.ema_decay);
}

}  // namespace

WeightDecay parse_optimizer_name(std::string_view name) {
  const std::string lower = to_lower(name);
  if (lower == "adamw") return WeightDecay::kDecoupled;
  if (lower == "adam") return WeightDecay::kL2;
  throw ConfigError(str("[optimizer.name] expected AdamW or Adam, got \"", name, "\""));
}

AdamOptimizer::AdamOptimizer(std::vector<FlatGroup> groups, const AdamOptimizerOptions& options)
    : groups_(std::move(groups)), options_(options) {
  check_options(options_);
  check_groups(groups_);
  const torch::NoGradGuard no_grad;
  for (const FlatGroup& group : groups_) {
    exp_avgs_.push_back(torch::zeros_like(group.master));
    exp_avg_sqs_.push_back(torch::zeros_like(group.master));
  }
  if (options_.ema_decay > 0) restart_averages();
}

void AdamOptimizer::restart_averages() {
  if (options_.ema_decay <= 0) return;
  const torch::NoGradGuard no_grad;
  if (averages_.empty()) {
    for (const FlatGroup& group : groups_) averages_.push_back(torch::empty_like(group.master, torch::kFloat32));
  }
  for (size_t i = 0; i < groups_.size(); ++i) averages_[i].copy_(groups_[i].master);
}

void AdamOptimizer::step(double lr, const torch::Tensor& coefficient_1) {
  const torch::NoGradGuard no_grad;
  ++step_count_;
  const bool l2 = options_.decay_mode == WeightDecay::kL2 && options_.weight_decay > 0;
  AdamWOptions update;
  update.lr = lr;
  update.beta1 = options_.beta1;
  update.beta2 = options_.beta2;
  update.eps = options_.eps;
  update.weight_decay = options_.decay_mode == WeightDecay::kDecoupled ? options_.weight_decay : 0;
  update.step = step_count_;
  update.stochastic_rounding = options_.stochastic_rounding;
  update.seed = options_.seed;
  update.ema_decay = averages_.empty() ? 0 : ema_decay_at(options_.ema_decay, step_count_);
  update.zero_grad = true;
  for (size_t i = 0; i < groups_.size(); ++i) {
    const FlatGroup& group = groups_[i];
    AdamWBuffers buffers;
    buffers.param = group.master;
    buffers.grad = l2 ? decayed_gradient(group, options_.weight_decay, coefficient_1) : group.grad;
    buffers.exp_avg = exp_avgs_[i];
    buffers.exp_avg_sq = exp_avg_sqs_[i];
    buffers.model_copy = group.model_copy;
    if (!averages_.empty()) buffers.ema = averages_[i];
    for (const RoundingRange& range : rounding_ranges(group, options_.stochastic_rounding)) {
      adamw_step(part_of(buffers, range), update, l2 ? torch::Tensor() : coefficient_1);
    }
    if (!buffers.grad.is_same(group.grad)) group.grad.zero_();
  }
}

std::vector<std::pair<std::string, torch::Tensor>> AdamOptimizer::state() const {
  std::vector<std::pair<std::string, torch::Tensor>> tensors;
  for (size_t i = 0; i < groups_.size(); ++i) {
    tensors.emplace_back(groups_[i].name + ".exp_avg", exp_avgs_[i]);
    tensors.emplace_back(groups_[i].name + ".exp_avg_sq", exp_avg_sqs_[i]);
    if (!averages_.empty()) tensors.emplace_back(groups_[i].name + ".ema", averages_[i]);
  }
  return tensors;
}

}  // namespace millrace
