// millrace plan CONFIG.toml --gpus=N [--gpus-per-node=8] [--gpu=h100-80gb] [--sweep] [--json] [--section.key=value ...]
#include <iostream>
#include <thread>

#include "base/error.h"
#include "base/text.h"
#include "command_line.h"
#include "commands.h"
#include "config/run_config.h"
#include "metrics/memory.h"
#include "tasks/task_table.h"

namespace millrace {
namespace {

struct PlanArguments {
  std::string config_file, gpu = "h100-80gb";
  int gpus = 1, gpus_per_node = 8;
  double memory_gib = 0;
  bool sweep = false, json = false, list = false;
  std::vector<int64_t> batches;
};

std::string gpu_names() {
  std::string names;
  for (const GpuSpec& gpu : gpu_table()) names += std::string(names.empty() ? "" : ", ") + std::string(gpu.name);
  return names;
}

// This machine, for plans without a GPU: its memory, no speed.
GpuSpec this_machine() {
  GpuSpec machine;
  machine.name = "cpu";
  machine.memory_gib = static_cast<double>(process_memory().total_bytes) / (1 << 30);
  machine.fast_domain = 1;
  return machine;
}

void print_table() {
  std::printf("%-16s %9s %14s %12s %15s %15s\n", "--gpu", "memory", "bf16", "memory", "between GPUs", "between nodes");
  for (const GpuSpec& gpu : gpu_table()) {
    std::printf("%-16s %5.1f GiB %7.0f TFLOP/s %7.2f TB/s %10.0f GB/s %10.0f GB/s\n", std::string(gpu.name).c_str(),
                gpu.memory_gib, gpu.bf16_flops / 1e12, gpu.memory_bandwidth / 1e12, gpu.intra_bandwidth / 1e9,
                gpu.inter_bandwidth / 1e9);
  }
}

// One microbatch a step, of each of these sizes.
std::vector<RunPlan> plan_batches(const RunConfig& config, PlanOptions options, const std::vector<int64_t>& batches) {
  options.search = false;
  std::vector<RunPlan> plans;
  for (const int64_t batch : batches) {
    const std::unique_ptr<RunConfig> changed = config.clone();
    changed->training.local_batch_size = batch;
    changed->training.global_batch_size = -1;
    plans.push_back(plan_task(*changed, options));
  }
  return plans;
}

}  // namespace

int run_plan(const std::vector<std::string>& args) {
  PlanArguments arguments;
  ArgumentParser app{
      "Reports the resources that a run needs, before a cluster is booked: memory, traffic, work and time of a step.\n"
      "Options of the configuration (--section.key=value) may follow, as for train.",
      "millrace plan"};
  app.add_option("config", arguments.config_file, "The training configuration (TOML)");
  app.add_option("--gpus", arguments.gpus, "GPUs in all")->check(CLI::Range(1, 1 << 20))->capture_default_str();
  app.add_option("--gpus-per-node", arguments.gpus_per_node, "GPUs per machine")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--gpu", arguments.gpu, "Kind of GPU: " + gpu_names() + "; or cpu: this machine, only memory")
      ->capture_default_str();
  app.add_option("--memory", arguments.memory_gib, "GiB of memory of one GPU, instead of the table's");
  app.add_flag("--sweep", arguments.sweep, "A table of the meshes that this many GPUs can form");
  app.add_option("--batches", arguments.batches, "A table of memory for these local batches, as 1,2,4")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 24));
  app.add_flag("--json", arguments.json, "For programs");
  app.add_flag("--list", arguments.list, "Print the table of GPUs, and stop");

  std::vector<std::string> overrides;
  std::string option_file;
  if (!parse_with_overrides(app, args, overrides, &option_file)) return static_cast<int>(ExitCode::kDone);
  if (arguments.list) {
    print_table();
    return static_cast<int>(ExitCode::kDone);
  }
  if (arguments.config_file.empty()) arguments.config_file = option_file;
  if (arguments.config_file.empty()) {
    throw ConfigError("[millrace plan] expected a configuration file, got none (try millrace plan --help)");
  }
  const std::unique_ptr<RunConfig> config = load_task_config(arguments.config_file, overrides);
  PlanOptions options;
  options.gpus = arguments.gpus;
  options.gpus_per_node = arguments.gpus_per_node;
  options.on_cpu = arguments.gpu == "cpu";
  options.gpu = options.on_cpu ? this_machine() : find_gpu(arguments.gpu);
  if (arguments.memory_gib > 0) options.gpu.memory_gib = arguments.memory_gib;
  if (!arguments.batches.empty()) {
    if (arguments.sweep) throw ConfigError("[--batches] expected no --sweep with it, got both");
    const std::vector<RunPlan> plans = plan_batches(*config, options, arguments.batches);
    std::cout << (arguments.json ? plans_json(plans) : batches_text(plans));
  } else if (arguments.sweep) {
    const std::vector<RunPlan> plans = sweep_task(*config, options);
    std::cout << (arguments.json ? plans_json(plans) : sweep_text(plans));
  } else {
    const RunPlan plan = plan_task(*config, options);
    std::cout << (arguments.json ? to_json(plan) : to_text(plan));
  }
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace millrace
