// Optimizer steps and learning rates for tests/parity/test_optim.py, all cases in one start.
//
//   millrace_optim_tool CASES.json IN.safetensors OUT.safetensors
//
// CASES: {"schedules": [{"name", "arguments", "count"}], "steps": [{"name", "arguments", "parameters": [names],
// "source", "steps", "lr": [numbers] or absent, "scheduled", "max_norm", "own_groups", "copy", "record": [steps],
// "dtype"}]}. Arguments are the command line's (--optimizer.name=Lion). OUT gets, for a schedule, "<name>" with the
// rates of steps 0 to count - 1 and, if it has any, "<name>/momentum"; for steps, with the schedule's rates if
// scheduled, "<name>/<step>.<parameter>" after each recorded step, and after the last
// "<name>/eval.<parameter>",
// "<name>/state.<state>" (element-wise ones, of all groups), "<name>/state.<state>.<parameter>", "<name>/ema",
// "<name>/copy", "<name>/norms", "<name>/grads" and "<name>/effective_lr" (of a rate of 1, after each step).
// IN holds "<source>p0.<parameter>" and "<source>grad.<step>.<parameter>".
#include <array>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <torch/types.h>
#include <nlohmann/json.hpp>

#include "config/run_config.h"
#include "config/task_kind.h"
#include "nn/tensor_io.h"
#include "optim/clip.h"
#include "optim/ema.h"
#include "optim/lr_schedule_table.h"
#include "optim/optimizer_table.h"

namespace millrace {
namespace {

using nlohmann::json;

RunConfig config_of(const json& test) {
  static constexpr std::array kTasks = {TaskKind{"plain", "plain", "a task without its own options", false,
                                                 [] { return std::make_unique<RunConfig>(); }}};
  return *load_run_config(kTasks, "", test.at("arguments").get<std::vector<std::string>>());
}

LrSchedule schedule_of(const RunConfig& config) {
  return make_lr_schedule(config.lr_scheduler, config.training.steps, config.optimizer.lr.value_or(1));
}

void put_rates(const json& test, TensorMap& out) {
  const RunConfig config = config_of(test);
  const LrSchedule schedule = schedule_of(config);
  std::vector<double> rates, momenta;
  for (int64_t step = 0; step < test.at("count").get<int64_t>(); ++step) {
    rates.push_back(config.optimizer.lr.value_or(1) * schedule.factor(step));
    if (const auto momentum = schedule.momentum(step)) momenta.push_back(*momentum);
  }
  const std::string name = test.at("name").get<std::string>();
  out[name] = torch::tensor(rates, torch::kFloat64);
  if (!momenta.empty()) out[name + "/momentum"] = torch::tensor(momenta, torch::kFloat64);
}

// One buffer for all parameters, cut into one group or into one for each.
class StepCase {
 public:
  StepCase(const json& test, const TensorMap& in)
      : test_(test), in_(in), name_(test.at("name")), source_(test.value("source", "")), config_(config_of(test)) {
    const auto names = test.at("parameters").get<std::vector<std::string>>();
    std::vector<torch::Tensor> flat;
    for (const std::string& name : names) {
      const torch::Tensor& initial = in_.at(source_ + "p0." + name);
      parameters_.push_back({.name = name,
                             .begin = parameters_.empty() ? 0 : parameters_.back().begin + parameters_.back().size,
                             .size = initial.numel(),
                             .global_shape = initial.sizes().vec()});
      flat.push_back(initial.reshape({-1}));
    }
    master_ = torch::cat(flat);
    grad_ = torch::zeros_like(master_);
    if (test.value("copy", false)) copy_ = master_.to(torch::kBFloat16);
  }

  void run(TensorMap& out) {
    const std::unique_ptr<Optimizer> optimizer =
        make_optimizer({.groups = groups(), .config = config_.optimizer, .seed = 0});
    std::unique_ptr<MovingAverage> average;
    if (const double decay = config_.optimizer.ema_decay.value_or(0); decay > 0) {
      average = std::make_unique<MovingAverage>(optimizer->groups(), decay);
      optimizer->set_average(average.get());
    }
    const auto recorded = test_.value("record", std::vector<int64_t>{});
    std::vector<double> norms, effective;
    const auto steps = test_.at("steps").get<int64_t>();
    for (int64_t step = 0; step < steps; ++step) {
      for (const ParameterRange& range : parameters_) {
        const torch::Tensor& grad = in_.at(source_ + "grad." + std::to_string(step) + "." + range.name);
        range.view(grad_).copy_(grad.reshape({-1}));
      }
      const GradNorm norm = global_grad_norm(optimizer->groups(), test_.value("max_norm", 0.0));
      norms.push_back(finite_norm(norm, optimizer->groups()));
      double lr = config_.optimizer.lr.value_or(1);
      if (test_.contains("lr")) lr = test_["lr"][static_cast<size_t>(step)].get<double>();
      if (test_.value("scheduled", false)) {
        const LrSchedule schedule = schedule_of(config_);
        lr *= schedule.factor(step);
        if (const auto momentum = schedule.momentum(step)) optimizer->set_momentum(*momentum);
      }
      optimizer->step(lr, norm.coefficient_1);
      effective.push_back(optimizer->effective_lr(1));
      for (const int64_t wanted : recorded) {
        if (wanted == step) put(out, std::to_string(step), master_);
      }
    }
    {
      const auto lent = optimizer->evaluation_weights();
      put(out, "eval", master_);
    }
    put_state(out, *optimizer);
    if (average) out[name_ + "/ema"] = torch::cat(average->buffers());
    if (copy_.defined()) out[name_ + "/copy"] = copy_;
    out[name_ + "/norms"] = torch::tensor(norms, torch::kFloat64);
    out[name_ + "/effective_lr"] = torch::tensor(effective, torch::kFloat64);
    out[name_ + "/grads"] = grad_;
  }

 private:
  std::vector<FlatGroup> groups() const {
    std::vector<FlatGroup> groups;
    const bool own = test_.value("own_groups", false);
    for (const ParameterRange& range : parameters_) {
      if (own || groups.empty()) {
        const int64_t size = own ? range.size : master_.numel();
        const auto part = [&](const torch::Tensor& x) { return x.defined() ? x.narrow(0, range.begin, size) : x; };
        FlatGroup group{"group" + std::to_string(groups.size()), part(master_), part(grad_), part(copy_)};
        groups.push_back(group);
      }
      ParameterRange inside = range;
      if (own) inside.begin = 0;
      groups.back().parameters.push_back(inside);
    }
    return groups;
  }

  void put(TensorMap& out, const std::string& what, const torch::Tensor& flat) const {
    for (const ParameterRange& range : parameters_) {
      out[name_ + "/" + what + "." + range.name] = range.view(flat).clone().view(range.global_shape);
    }
  }

  void put_state(TensorMap& out, const Optimizer& optimizer) const {
    std::map<std::string, std::vector<torch::Tensor>> by_name;
    for (const StateTensor& state : optimizer.state()) {
      const std::string name = state.parameter.empty() ? state.name : state.name + "." + state.parameter;
      by_name[name].push_back(state.tensor);
    }
    for (const auto& [name, tensors] : by_name) out[name_ + "/state." + name] = torch::cat(tensors);
  }

  const json& test_;
  const TensorMap& in_;
  std::string name_, source_;
  RunConfig config_;
  std::vector<ParameterRange> parameters_;
  torch::Tensor master_, grad_, copy_;
};

void run(const char* cases_path, const char* in_path, const char* out_path) {
  std::ifstream file(cases_path);
  const json cases = json::parse(file);
  const TensorMap in = load_tensors(in_path);
  TensorMap out;
  for (const json& test : cases.at("schedules")) put_rates(test, out);
  for (const json& test : cases.at("steps")) StepCase(test, in).run(out);
  save_tensors(out_path, out);
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "expected CASES.json IN.safetensors OUT.safetensors\n");
    return 1;
  }
  try {
    millrace::run(argv[1], argv[2], argv[3]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
