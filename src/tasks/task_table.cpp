#include "tasks/task_table.h"

#include <array>
#include <filesystem>
#include <functional>
#include <new>
#include <stdexcept>
#include <system_error>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "checkpoint/checkpoint_folder.h"
#include "metrics/device_memory.h"
#include "metrics/memory.h"
#include "parallel/rank_session.h"
#include "plan/offload_choice.h"
#include "plan/planner.h"
#include "plan/run_memory.h"
#include "tasks/export_run.h"
#include "tasks/flux/flux_plan.h"
#include "tasks/flux/flux_task.h"
#include "tasks/flux_lora/flux_lora_export.h"
#include "tasks/flux_lora/flux_lora_task.h"
#include "tasks/flux_lora/initial_layers.h"
#include "tasks/flux_pretrain/flux_pretrain_task.h"
#include "tasks/llama_finetune/llama_data.h"
#include "tasks/llama_finetune/llama_data_summary.h"
#include "tasks/llama_finetune/llama_export.h"
#include "tasks/llama_finetune/llama_plan.h"
#include "tasks/llama_finetune/llama_sampler.h"
#include "tasks/llama_finetune/llama_task.h"
#include "tasks/llama_lora/llama_lora_config.h"
#include "tasks/result_folders.h"
#include "train/drawn_seed.h"
#include "train/result_record.h"
#include "train/run_folder.h"
#include "train/trainer.h"

namespace millrace {
namespace {

// What other programs get of a run.
struct TaskResult {
  WriteAdapters (*adapters)();  // null: no adapters
  std::vector<Companion> (*companions)(const RunConfig& config);
  std::filesystem::path (*tokenizer)(const RunConfig& config);
  std::filesystem::path (*sizes)(const RunConfig& config);
  std::optional<ExportOptions> (*final_export)(const RunConfig& config);  // what a run writes at its end
  ResultNaming (*result_naming)(const RunConfig& config);                 // of folders for each checkpoint
  std::optional<int64_t> (*last_epoch)(const RunConfig& config);
  MakeTextSampler texts;                                                 // null: pictures
  TextDataSummary (*data)(const RunConfig& config, bool is_validation);  // null: pictures
};

// Everything that differs between tasks. config was made by the row's make_config().
struct TaskEntry {
  TaskKind kind;
  std::unique_ptr<Task> (*make)(const RunConfig& config, Mesh& mesh, torch::Device device, TaskPurpose purpose);
  std::unique_ptr<ModelDescription> (*describe_model)(const RunConfig& config, const TensorMap& shapes);
  std::vector<std::unique_ptr<RunListener>> (*listeners)(const RunConfig& config);
  MakePlannedTask plan;
  const LoraConfig* (*lora)(const RunConfig& config);
  // Settings that follow from others, at the start of a run.
  void (*settle)(RunConfig& config, int64_t world_size);
  TaskResult result;
};

std::vector<std::unique_ptr<RunListener>> no_listeners(const RunConfig&) {
  return {};
}

const LoraConfig* no_lora(const RunConfig&) {
  return nullptr;
}

void settle_nothing(RunConfig&, int64_t) {}

std::vector<Companion> no_companions(const RunConfig&) {
  return {};
}

std::filesystem::path no_file(const RunConfig&) {
  return {};
}

std::optional<ExportOptions> no_final_export(const RunConfig&) {
  return std::nullopt;
}

ResultNaming no_result_folders(const RunConfig&) {
  return ResultNaming::kNone;
}

std::optional<int64_t> no_last_epoch(const RunConfig&) {
  return std::nullopt;
}

constexpr TaskResult kLlamaResult = {llama_adapter_writer, llama_companions,   llama_tokenizer,
                                     llama_sizes,          llama_final_export, llama_result_naming,
                                     llama_last_epoch,     make_llama_sampler, summarise_llama_data};

constexpr std::array kTasks = std::to_array<TaskEntry>({
    {{"flux_pretrain", "flux", "trains FLUX from captioned pictures, or from their encodings", /*is_lora=*/false,
      make_flux_pretrain_config},
     make_flux_task,
     describe_flux_model,
     make_flux_pretrain_listeners,
     plan_flux,
     no_lora,
     settle_nothing,
     {nullptr, no_companions, no_file, no_file, no_final_export, no_result_folders, no_last_epoch, nullptr, nullptr}},
    {{"flux_lora", "flux", "trains LoRA adapters on a frozen FLUX", /*is_lora=*/true, make_flux_lora_config},
     make_flux_task,
     describe_flux_model,
     no_listeners,
     plan_flux,
     flux_lora_options,
     settle_flux_lora_config,
     {flux_adapter_writer, no_companions, no_file, no_file, no_final_export, no_result_folders, no_last_epoch, nullptr,
      nullptr}},
    {{"llama_finetune", "llama", "trains all weights of a Llama-style language model on your text",
      /*is_lora=*/false, make_llama_finetune_config},
     make_llama_task,
     describe_llama_model,
     no_listeners,
     plan_llama,
     no_lora,
     settle_llama_config,
     kLlamaResult},
    {{"llama_lora", "llama", "trains LoRA adapters on a frozen Llama-style language model", /*is_lora=*/true,
      make_llama_lora_config},
     make_llama_task,
     describe_llama_model,
     no_listeners,
     plan_llama,
     llama_lora_options,
     settle_llama_config,
     kLlamaResult},
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
std::vector<std::unique_ptr<RunListener>> listeners_of_rank(const RunConfig& config, Communicator& ranks,
                                                            std::optional<ResultFolders>& results) {
  if (ranks.world().rank != 0) return {};
  const TaskEntry& entry = find_task(config);
  std::vector<std::unique_ptr<RunListener>> listeners = entry.listeners(config);
  const ResultNaming naming = entry.result.result_naming(config);
  if (naming != ResultNaming::kNone) listeners.push_back(results.emplace(config, naming).listener());
  return listeners;
}

// The folder appears when it is complete. After all ranks have parted: none waits for it.
void export_at_end(const RunConfig& config, const TaskEntry& entry) {
  const std::optional<ExportOptions> options = entry.result.final_export(config);
  const std::filesystem::path run = config.job.dump_folder, folder = run / "model";
  const std::vector<int64_t> steps = checkpoint_steps(run / config.checkpoint.folder);
  if (!options || steps.empty() || has_result(run, "model", steps.back())) return;
  const std::filesystem::path partial = run / "model.partial";
  std::error_code ignored;
  std::filesystem::remove_all(partial, ignored);  // of a process that was killed
  try {
    export_run(run, config, partial, *options);
  } catch (...) {
    std::filesystem::remove_all(partial, ignored);
    throw;
  }
  std::filesystem::remove_all(folder);  // of fewer steps
  std::filesystem::rename(partial, folder);
  note_result(run, "model", steps.back(), {folder});
  log_info("the trained model: ", folder.string());
}

// What the run is on, for its plan.
PlanOptions machine_of(const Communicator& ranks, torch::Device device) {
  PlanOptions machine;
  machine.gpus = ranks.world().size;
  machine.gpus_per_node = ranks.world().local_size;
  machine.on_cpu = device.is_cpu();
  machine.gpu.name = machine.on_cpu ? "cpu" : "this GPU";
  const MemoryUse memory = machine.on_cpu ? process_memory() : device_memory_since_last_call(device);
  machine.gpu.memory_gib = static_cast<double>(memory.total_bytes) / kGiB;
  machine.gpu.fast_domain = 1;
  return machine;
}

// What is odd about pictures is told when they are opened to be trained on.
class QuietConsole {
 public:
  QuietConsole() { set_console_log_level(LogLevel::kError); }
  ~QuietConsole() { set_console_log_level(LogLevel::kInfo); }
  QuietConsole(const QuietConsole&) = delete;
  QuietConsole& operator=(const QuietConsole&) = delete;
};

// On the first rank, before the weights are loaded, which may take minutes.
void tell_planned_memory(const RunConfig& config, const TaskEntry& entry, const PlanOptions& machine) {
  std::string line;
  try {
    const QuietConsole quiet;
    line = planned_memory(config, machine, entry.plan);
  } catch (const ConfigError& error) {  // a GGUF file's size is known when it is read
    line = str("memory is not planned: ", error.what());
  }
  log_info(line);
}

// With a number of blocks in host memory where the configuration says auto.
std::unique_ptr<RunConfig> with_offload_settled(const RunConfig& config, const TaskEntry& entry,
                                                const PlanOptions& machine) {
  if (offload_setting(config) != "auto") return config.clone();
  std::unique_ptr<RunConfig> settled;
  {
    const QuietConsole quiet;
    settled = settle_offload(config, machine, entry.plan);
  }
  log_info("lora.offload_blocks = auto: ", offload_setting(*settled), " blocks in host memory");
  return settled;
}

// With the ranks of the file that training starts from, where the configuration takes those.
std::unique_ptr<RunConfig> with_initial_layers(const RunConfig& config) {
  std::unique_ptr<RunConfig> settled = config.clone();
  settle_flux_lora_config(*settled, /*world_size=*/1);
  return settled;
}

// Throws std::runtime_error, with the plan and what to change first, where the run needs more than there is.
void train_within_memory(const RunConfig& config, const TaskEntry& entry, const PlanOptions& machine,
                         const std::function<void()>& run) {
  std::string problem;
  try {
    run();
    return;
  } catch (const c10::OutOfMemoryError& error) {
    const std::string text = error.what_without_backtrace();
    problem = text.substr(0, text.find('\n'));
  } catch (const std::bad_alloc&) {
    problem = "none left";
  }
  std::string advice;
  try {
    advice = out_of_memory_advice(config, machine, entry.plan);
  } catch (const std::exception& error) {  // the advice must not hide the reason
    advice = str("no plan: ", error.what(), " (try a smaller training.local_batch_size)");
  }
  throw std::runtime_error(str("[", machine.on_cpu ? "memory" : "GPU memory", "] expected enough for this run, got ",
                               problem, "\n", advice));
}

}  // namespace

TaskKinds task_kinds() {
  return kKinds;
}

std::unique_ptr<RunConfig> load_task_config(const std::filesystem::path& path,
                                            const std::vector<std::string>& overrides) {
  return load_run_config(task_kinds(), path, overrides);
}

void run_task(const RunConfig& given, const World& world, const std::string& version) {
  const TaskEntry& entry = find_task(given);
  const std::unique_ptr<RunConfig> settled = given.clone();
  const bool draws_seed = given.training.random_seed;
  if (!draws_seed) entry.settle(*settled, world.size);
  const RunConfig& config = *settled;
  std::optional<ResultFolders> results;  // outlives the ranks' session: what it writes may take minutes
  with_ranks(config, world, version, [&](Communicator& ranks, torch::Device device) {
    if (draws_seed) {  // other settings may follow from it
      settled->training.seed = drawn_seed(config, ranks);
      settled->training.random_seed = false;
      entry.settle(*settled, world.size);
    }
    const RunFolder folder(config, ranks, /*writes_results=*/entry.kind.is_lora);
    if (!folder.nothing_to_do().empty()) {
      log_info(folder.nothing_to_do());
      return;
    }
    const PlanOptions machine = machine_of(ranks, device);
    const std::unique_ptr<RunConfig> placed = with_offload_settled(config, entry, machine);
    if (entry.kind.is_lora && world.rank == 0) tell_planned_memory(*placed, entry, machine);
    train_within_memory(*placed, entry, machine, [&] {
      const std::unique_ptr<Task> task = entry.make(*placed, ranks.mesh(), device, TaskPurpose::kTrain);
      train(*task, config, ranks, listeners_of_rank(config, ranks, results));
    });
  });
  if (results) results->finish();
  if (world.rank == 0) export_at_end(config, entry);
  if (world.rank == 0) write_last_result_folder(config, entry.result.result_naming(config));
  if (world.rank == 0) write_best_model(config);
}

Evaluation evaluate_task(const RunConfig& config, const World& world, const std::string& version,
                         const std::optional<CheckpointWeights>& weights) {
  const TaskEntry& entry = find_task(config);
  Evaluation evaluation;
  with_ranks(config, world, version, [&](Communicator& ranks, torch::Device device) {
    const std::unique_ptr<RunConfig> placed = with_offload_settled(config, entry, machine_of(ranks, device));
    const std::unique_ptr<Task> task = entry.make(*placed, ranks.mesh(), device, TaskPurpose::kEvaluate);
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

WriteAdapters adapter_writer_of_task(const RunConfig& config) {
  const auto& make = find_task(config).result.adapters;
  MILLRACE_CHECK(make != nullptr);
  return make();
}

std::vector<Companion> companions_of_task(const RunConfig& config) {
  return find_task(config).result.companions(config);
}

std::filesystem::path tokenizer_of_task(const RunConfig& config) {
  return find_task(config).result.tokenizer(config);
}

std::filesystem::path sizes_of_task(const RunConfig& config) {
  return find_task(config).result.sizes(config);
}

std::optional<ExportOptions> final_export_of_task(const RunConfig& config) {
  return find_task(config).result.final_export(config);
}

std::optional<int64_t> last_epoch_of_task(const RunConfig& config) {
  return find_task(config).result.last_epoch(config);
}

TextDataSummary summarise_text_data(const RunConfig& config, bool is_validation) {
  const auto summarise = find_task(config).result.data;
  if (summarise == nullptr) {
    throw ConfigError("[job.task] expected a task of a language model, got " + config.job.task +
                      " (millrace inspect shows the file of its pictures: training.dataset_path)");
  }
  return summarise(config, is_validation);
}

MakeTextSampler text_sampler_of_task(const RunConfig& config) {
  return find_task(config).result.texts;
}

const ModelEntry& model_of_task(const RunConfig& config) {
  return find_model(find_task(config).kind.model);
}

RunPlan plan_task(const RunConfig& config, const PlanOptions& options) {
  return plan_run(*with_initial_layers(config), options, find_task(config).plan);
}

std::vector<RunPlan> sweep_task(const RunConfig& config, const PlanOptions& options) {
  return sweep_run(*with_initial_layers(config), options, find_task(config).plan);
}

}  // namespace millrace
