#include "tasks/task_table.h"

#include <array>

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
  std::unique_ptr<Task> (*make)(const RunConfig& config, Mesh& mesh, torch::Device device, TaskPurpose purpose);
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
  return checksum_text(checksum64(text.data(), text.size()));
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

// Connects the ranks, makes the task and does `work` with both.
template <typename Work>
void with_task(const RunConfig& config, const World& world, const std::string& version, TaskPurpose purpose,
               const Work& work) {
  install_caching_cpu_allocator();
  const TaskEntry& entry = find_task(config.model.name);
  const torch::Device device = device_of_rank(config.training.device, world);
  const auto ranks = connect(world, comm_options(config, world, device, version));
  run_as_rank(*ranks, [&] {
    const std::unique_ptr<Task> task = entry.make(config, ranks->mesh(), device, purpose);
    work(*task, *ranks);
  });
}

}  // namespace

void run_task(const RunConfig& config, const World& world, const std::string& version) {
  with_task(config, world, version, TaskPurpose::kTrain,
            [&](Task& task, Communicator& ranks) { train(task, config, ranks); });
}

Evaluation evaluate_task(const RunConfig& config, const World& world, const std::string& version,
                         const std::optional<CheckpointWeights>& weights) {
  Evaluation evaluation;
  with_task(config, world, version, TaskPurpose::kEvaluate,
            [&](Task& task, Communicator& ranks) { evaluation = evaluate(task, ranks, weights); });
  return evaluation;
}

RunPlan plan_task(const RunConfig& config, const PlanOptions& options) {
  return find_task(config.model.name).plan(config, options);
}

std::vector<RunPlan> sweep_task(const RunConfig& config, const PlanOptions& options) {
  return find_task(config.model.name).sweep(config, options);
}

}  // namespace millrace
