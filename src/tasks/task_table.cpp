#include "tasks/task_table.h"

#include <array>
#include <cstdio>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "comm/communicator.h"
#include "nn/cpu_allocator.h"
#include "tasks/flux_pretrain/flux_plan.h"
#include "tasks/flux_pretrain/flux_pretrain_task.h"
#include "tasks/run_as_rank.h"
#include "tasks/run_device.h"
#include "train/trainer.h"

namespace millrace {
namespace {

struct TaskEntry {
  const char* model;  // config.model.name
  std::unique_ptr<Task> (*make)(const RunConfig& config, Mesh& mesh, torch::Device device);
  RunPlan (*plan)(const RunConfig& config, const PlanOptions& options);
  std::vector<RunPlan> (*sweep)(const RunConfig& config, const PlanOptions& options);
};

constexpr std::array kTasks = std::to_array<TaskEntry>({
    {"flux", make_flux_pretrain_task, plan_flux_pretrain, sweep_flux_pretrain},
});

const TaskEntry& find_task(const std::string& model) {
  std::vector<std::string> names;
  for (const TaskEntry& entry : kTasks) {
    if (model == entry.model) return entry;
    names.emplace_back(entry.model);
  }
  throw ConfigError("[model.name] expected " + join(names, " or ") + ", got '" + model + "'");
}

// Short, and shown when ranks differ.
std::string fingerprint(const RunConfig& config) {
  const std::string text = to_toml(config);
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx",
                static_cast<unsigned long long>(checksum64(text.data(), text.size())));
  return digits;
}

CommOptions comm_options(const RunConfig& config, const World& world, torch::Device device,
                         const std::string& version) {
  CommOptions options;
  const MeshDegrees degrees = mesh_degrees(config, world.size);
  options.shape = {degrees.dp_replicate, degrees.dp_shard, degrees.tp};
  options.device = device;
  options.backend = config.comm.backend;
  options.init_timeout = static_cast<double>(config.comm.init_timeout_seconds);
  options.train_timeout = static_cast<double>(config.comm.train_timeout_seconds);
  options.fingerprint = fingerprint(config);
  options.version = version;
  return options;
}

}  // namespace

void run_task(const RunConfig& config, const World& world, const std::string& version) {
  install_caching_cpu_allocator();
  const TaskEntry& entry = find_task(config.model.name);
  const torch::Device device = device_of_rank(config.training.device, world);
  const auto ranks = connect(world, comm_options(config, world, device, version));
  run_as_rank(*ranks, [&] {
    const std::unique_ptr<Task> task = entry.make(config, ranks->mesh(), device);
    train(*task, config, *ranks);
  });
}

RunPlan plan_task(const RunConfig& config, const PlanOptions& options) {
  return find_task(config.model.name).plan(config, options);
}

std::vector<RunPlan> sweep_task(const RunConfig& config, const PlanOptions& options) {
  return find_task(config.model.name).sweep(config, options);
}

}  // namespace millrace
