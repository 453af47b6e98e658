// Schedules and optimizer steps for tests/parity/test_optim.py.
//
//   millrace_optim_tool lr STEPS WARMUP DECAY_RATIO|none TYPE MIN_FACTOR
//     prints the factors of steps 0 to STEPS, one a line.
//   millrace_optim_tool adam IN.safetensors OUT.safetensors NAME LR BETA1 BETA2 EPS WEIGHT_DECAY MAX_NORM EMA_DECAY
//   COPY
//     IN: param [N] fp32 or bf16, grads [steps, N], sizes [groups]. OUT: param, exp_avg, exp_avg_sq, norms [steps],
//     with EMA_DECAY > 0 also ema, with COPY = 1 also model_copy.
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include <torch/types.h>

#include "nn/tensor_io.h"
#include "optim/adam_optimizer.h"
#include "optim/clip.h"
#include "optim/lr_schedule.h"

namespace millrace {
namespace {

int print_factors(const std::vector<std::string>& args) {
  LrScheduleOptions options;
  options.total_steps = std::stoll(args.at(0));
  options.warmup_steps = std::stoll(args.at(1));
  if (args.at(2) != "none") options.decay_ratio = std::stod(args.at(2));
  options.decay_type = parse_decay_type(args.at(3));
  options.min_lr_factor = std::stod(args.at(4));
  const LrSchedule schedule(options);
  for (int64_t step = 0; step <= options.total_steps; ++step) std::printf("%.17g\n", schedule.factor(step));
  return 0;
}

// Consecutive slices of the buffers as groups of their own.
std::vector<FlatGroup> make_groups(const torch::Tensor& param, const torch::Tensor& grad, const torch::Tensor& copy,
                                   const torch::Tensor& sizes) {
  std::vector<FlatGroup> groups;
  int64_t begin = 0;
  for (int64_t i = 0; i < sizes.numel(); ++i) {
    const int64_t end = begin + sizes[i].item<int64_t>();
    FlatGroup group;
    group.name = "group" + std::to_string(i);
    group.master = param.slice(0, begin, end);
    group.grad = grad.slice(0, begin, end);
    if (copy.defined()) group.model_copy = copy.slice(0, begin, end);
    groups.push_back(group);
    begin = end;
  }
  return groups;
}

int run_adam(const std::vector<std::string>& args) {
  const TensorMap in = load_tensors(args.at(0));
  const torch::Tensor param = in.at("param"), grads = in.at("grads"), grad = torch::zeros_like(grads[0]);
  AdamOptimizerOptions options;
  options.decay_mode = parse_optimizer_name(args.at(2));
  const double lr = std::stod(args.at(3));
  options.beta1 = std::stod(args.at(4));
  options.beta2 = std::stod(args.at(5));
  options.eps = std::stod(args.at(6));
  options.weight_decay = std::stod(args.at(7));
  const double max_norm = std::stod(args.at(8));
  options.ema_decay = std::stod(args.at(9));
  const torch::Tensor copy = args.at(10) == "1" ? param.to(torch::kBFloat16) : torch::Tensor();
  AdamOptimizer optimizer(make_groups(param, grad, copy, in.at("sizes")), options);
  std::vector<double> norms;
  for (int64_t step = 0; step < grads.size(0); ++step) {
    grad.copy_(grads[step]);
    const GradNorm norm = global_grad_norm(optimizer.groups(), max_norm);
    norms.push_back(finite_norm(norm, optimizer.groups()));
    optimizer.step(lr, norm.coefficient_1);
  }
  std::map<std::string, std::vector<torch::Tensor>> parts;
  for (const auto& [name, tensor] : optimizer.state()) parts[name.substr(name.find('.') + 1)].push_back(tensor);
  TensorMap out = {{"param", param}, {"norms", torch::tensor(norms, torch::kFloat64)}, {"grad", grad}};
  if (copy.defined()) out["model_copy"] = copy;
  for (const auto& [name, tensors] : parts) out[name] = torch::cat(tensors);
  save_tensors(args.at(1), out);
  return 0;
}

int run(const std::vector<std::string>& args) {
  const std::vector<std::string> rest(args.begin() + 1, args.end());
  if (args.front() == "lr") return print_factors(rest);
  if (args.front() == "adam") return run_adam(rest);
  throw std::invalid_argument("expected lr or adam, got " + args.front());
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  try {
    return millrace::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
