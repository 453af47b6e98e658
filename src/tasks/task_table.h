// The one table of tasks: those that `millrace train` runs and `millrace evaluate` validates.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "adapters/lora_options.h"
#include "comm/world.h"
#include "config/run_config.h"
#include "config/task_kind.h"
#include "language/text_data_summary.h"
#include "metrics/run_plan.h"
#include "models/model_table.h"
#include "nn/tensor_io.h"
#include "plan/plan_options.h"
#include "tasks/adapter_export.h"
#include "tasks/export_run.h"
#include "tasks/text_sampler.h"
#include "train/evaluate.h"

namespace millrace {

// The tasks' names and options, for config/.
TaskKinds task_kinds();
// load_run_config() with all tasks.
std::unique_ptr<RunConfig> load_task_config(const std::filesystem::path& path,
                                            const std::vector<std::string>& overrides);

// Runs the task named by job.task to its end, or resumes it, as one rank of world. version: of the program; ranks with
// another one are refused. Throws the exceptions of base/error.h; Preempted after a checkpoint when asked to stop. If
// one rank throws, the others are told before they exit.
void run_task(const RunConfig& config, const World& world, const std::string& version);

// The validation loss of weights (see train/evaluate.h) on the configuration's data.
Evaluation evaluate_task(const RunConfig& config, const World& world, const std::string& version,
                         const std::optional<CheckpointWeights>& weights);

// The model of a run, with the sizes of its checkpoint: our names and their shapes, as meta tensors.
std::unique_ptr<ModelDescription> describe_run_model(const RunConfig& config, const TensorMap& shapes);
// The LoRA options of a task that trains adapters on a frozen model, whose checkpoints hold the adapters alone; null
// for other tasks.
const LoraConfig* lora_of_task(const RunConfig& config);
// How they are written for other programs.
WriteAdapters adapter_writer_of_task(const RunConfig& config);
// Files that belong beside a run's exported weights, such as those of a tokenizer; and where the tokenizer is, "" for
// models that have none of their own.
std::vector<Companion> companions_of_task(const RunConfig& config);
std::filesystem::path tokenizer_of_task(const RunConfig& config);
// The config.json that the sizes of a run's initial weights are in; "": beside the weights, or in them.
std::filesystem::path sizes_of_task(const RunConfig& config);
// What a run writes at its end into the folder "model"; none: nothing.
std::optional<ExportOptions> final_export_of_task(const RunConfig& config);
// The last epoch of the data, from 0, of a run that ends with one.
std::optional<int64_t> last_epoch_of_task(const RunConfig& config);
// Null: what the task trains makes pictures, not texts.
MakeTextSampler text_sampler_of_task(const RunConfig& config);
// The data set of a task that reads texts, as a run would see it. Throws ConfigError for other tasks.
TextDataSummary summarise_text_data(const RunConfig& config, bool is_validation);
// Its row in the table of models.
const ModelEntry& model_of_task(const RunConfig& config);

// The resources that the run needs, without running it; and the same for every mesh of that many GPUs, fastest first.
RunPlan plan_task(const RunConfig& config, const PlanOptions& options);
std::vector<RunPlan> sweep_task(const RunConfig& config, const PlanOptions& options);

}  // namespace millrace
