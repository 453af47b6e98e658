#include "tasks/task_table.h"

#include <array>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "tasks/flux_pretrain/flux_plan.h"
#include "tasks/flux_pretrain/flux_pretrain_task.h"
#include "tasks/rank_session.h"
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

// Connects the ranks, makes the task and does `work` with both.
template <typename Work>
void with_task(const RunConfig& config, const World& world, const std::string& version, TaskPurpose purpose,
               const Work& work) {
  const TaskEntry& entry = find_task(config.model.name);
  with_ranks(config, world, version, [&](Communicator& ranks, torch::Device device) {
    const std::unique_ptr<Task> task = entry.make(config, ranks.mesh(), device, purpose);
    work(*task, ranks);
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
