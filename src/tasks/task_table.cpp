#include "tasks/task_table.h"

#include <array>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "parallel/rank_session.h"
#include "plan/planner.h"
#include "tasks/flux/flux_plan.h"
#include "tasks/flux/flux_task.h"
#include "tasks/flux_lora/flux_lora_task.h"
#include "tasks/flux_pretrain/flux_pretrain_task.h"
#include "train/run_folder.h"
#include "train/trainer.h"

namespace millrace {
namespace {

// Everything that differs between tasks. config was made by the row's make_config().
struct TaskEntry {
  TaskKind kind;
  std::unique_ptr<Task> (*make)(const RunConfig& config, Mesh& mesh, torch::Device device, TaskPurpose purpose);
  std::unique_ptr<ModelDescription> (*describe_model)(const RunConfig& config, const TensorMap& shapes);
  std::vector<std::unique_ptr<RunListener>> (*listeners)(const RunConfig& config);
  MakePlannedTask plan;
  const LoraConfig* (*lora)(const RunConfig& config);
};

std::vector<std::unique_ptr<RunListener>> no_listeners(const RunConfig&) {
  return {};
}

const LoraConfig* no_lora(const RunConfig&) {
  return nullptr;
}

constexpr std::array kTasks = std::to_array<TaskEntry>({
    {{"flux_pretrain", "flux", "trains FLUX from captioned pictures, or from their encodings", /*is_lora=*/false,
      make_flux_pretrain_config},
     make_flux_task,
     describe_flux_model,
     make_flux_pretrain_listeners,
     plan_flux,
     no_lora},
    {{"flux_lora", "flux", "trains LoRA adapters on a frozen FLUX", /*is_lora=*/true, make_flux_lora_config},
     make_flux_task,
     describe_flux_model,
     no_listeners,
     plan_flux,
     flux_lora_options},
});

constexpr auto kKinds = [] {
  std::array<TaskKind, kTasks.size()> kinds{};
  for (size_t i = 0; i < kinds.size(); ++i) kinds[i] = kTasks[i].kind;
  return kinds;
}();

const TaskEntry& find_task(const RunConfig& config) {
  for (const TaskEntry& entry : kTasks) {
    if (config.job.task == entry.kind.name) return entry;
  }
  throw LogicError("[job.task] expected a configuration that load_task_config() made, got the task \"" +
                   config.job.task + "\"");
}

// The first rank's records of the run.
std::vector<std::unique_ptr<RunListener>> listeners_of_rank(const RunConfig& config, Communicator& ranks) {
  if (ranks.world().rank != 0) return {};
  return find_task(config).listeners(config);
}

}  // namespace

TaskKinds task_kinds() {
  return kKinds;
}

std::unique_ptr<RunConfig> load_task_config(const std::filesystem::path& path,
                                            const std::vector<std::string>& overrides) {
  return load_run_config(task_kinds(), path, overrides);
}

void run_task(const RunConfig& config, const World& world, const std::string& version) {
  const TaskEntry& entry = find_task(config);
  with_ranks(config, world, version, [&](Communicator& ranks, torch::Device device) {
    const RunFolder folder(config, ranks);
    if (!folder.nothing_to_do().empty()) {
      log_info(folder.nothing_to_do());
      return;
    }
    const std::unique_ptr<Task> task = entry.make(config, ranks.mesh(), device, TaskPurpose::kTrain);
    train(*task, config, ranks, listeners_of_rank(config, ranks));
  });
}

Evaluation evaluate_task(const RunConfig& config, const World& world, const std::string& version,
                         const std::optional<CheckpointWeights>& weights) {
  const TaskEntry& entry = find_task(config);
  Evaluation evaluation;
  with_ranks(config, world, version, [&](Communicator& ranks, torch::Device device) {
    const std::unique_ptr<Task> task = entry.make(config, ranks.mesh(), device, TaskPurpose::kEvaluate);
    evaluation = evaluate(*task, ranks, weights);
  });
  return evaluation;
}

std::unique_ptr<ModelDescription> describe_run_model(const RunConfig& config, const TensorMap& shapes) {
  return find_task(config).describe_model(config, shapes);
}

const LoraConfig* lora_of_task(const RunConfig& config) {
  return find_task(config).lora(config);
}

const ModelEntry& model_of_task(const RunConfig& config) {
  return find_model(find_task(config).kind.model);
}

RunPlan plan_task(const RunConfig& config, const PlanOptions& options) {
  return plan_run(config, options, find_task(config).plan);
}

std::vector<RunPlan> sweep_task(const RunConfig& config, const PlanOptions& options) {
  return sweep_run(config, options, find_task(config).plan);
}

}  // namespace millrace
