#include "config/foreign_options.h"

#include <algorithm>
#include <array>

#include "base/log.h"
#include "base/text.h"
#include "config/number_text.h"

namespace millrace {
namespace {

using Type = ForeignOption::Type;
using Kind = TomlValue::Kind;
constexpr auto kWarn = ForeignOption::Answer::kWarn;
constexpr auto kRefuse = ForeignOption::Answer::kRefuse;

constexpr const char* kBuiltIn = "all options are built in";
constexpr const char* kSavedConfig = "the resolved configuration is always in job.dump_folder/config.toml";
constexpr const char* kSnapshots = "memory snapshots are Python pickles; metrics.jsonl has the memory of each step";
constexpr const char* kEveryUpdate = "the update is always one fused pass over all parameters";
constexpr const char* kNoCompiler = "nothing is compiled at run time: the fused kernels are part of the program";
constexpr const char* kNoCollector = "there is no garbage collector";
constexpr const char* kLoader = "the loader chooses this automatically";
constexpr const char* kNoQuantised = "quantised layers are not supported yet";
constexpr const char* kNotInThisVersion = "it is not supported yet";
constexpr const char* kFullyShards = "ranks can share the work only by data, by shards and by tensors";
constexpr const char* kWatch = "a lost rank is reported in one line with its host and step";
constexpr const char* kAllOrNone = "all ranks stop when one is lost; the run resumes from its last checkpoint";
constexpr const char* kWholeCheckpoint = "every checkpoint is complete; `millrace export` writes only the weights";
constexpr const char* kPlainCheckpoint = "checkpoints are safetensors; `millrace export` writes other namings";
constexpr const char* kInitialPath = "the kind of file is recognised; only the weights are taken from it";
constexpr const char* kNoRandomBlocks = "recomputed blocks draw no random numbers and are always exact";
constexpr const char* kDeterministic = "training is always deterministic";
constexpr const char* kNoExperts = "no model of this version has experts";

constexpr std::array kOptions = std::to_array<ForeignOption>({
    {"job.config_file", Type::kText, "None", kWarn, "the file being read is the one given on the command line"},
    {"job.use_for_integration_test", Type::kFlag, "false", kWarn, "it marks torchtitan's own tests"},
    {"job.save_config_file", Type::kText, "None", kWarn, kSavedConfig},
    {"job.custom_config_module", Type::kText, "\"\"", kWarn, kBuiltIn},
    {"experimental.custom_args_module", Type::kText, "\"\"", kWarn, kBuiltIn},
    {"experimental.custom_import", Type::kText, "\"\"", kRefuse, "there is no Python at run time"},

    {"profiling.enable_memory_snapshot", Type::kFlag, "false", kWarn, kSnapshots},
    {"profiling.save_memory_snapshot_folder", Type::kText, "\"memory_snapshot\"", kWarn, kSnapshots},

    {"metrics.enable_wandb", Type::kFlag, "false", kWarn,
     "Weights & Biases is not supported; metrics.jsonl and TensorBoard files can be imported there"},
    {"metrics.disable_color_printing", Type::kFlag, "true", kWarn, "nothing is printed in colour"},

    {"model.converters", Type::kList, "[]", kRefuse, kNoQuantised},
    {"model.print_after_conversion", Type::kFlag, "false", kWarn, kNoQuantised},

    {"optimizer.implementation", Type::kText, "\"fused\"", kWarn, kEveryUpdate},
    {"optimizer.early_step_in_backward", Type::kFlag, "false", kWarn, kEveryUpdate},

    {"training.enable_cpu_offload", Type::kFlag, "false", kRefuse, "offloading to the CPU is not supported yet"},
    {"training.compile", Type::kFlag, "false", kWarn, kNoCompiler},
    {"training.gc_freq", Type::kInteger, "50", kWarn, kNoCollector},
    {"training.gc_debug", Type::kFlag, "false", kWarn, kNoCollector},
    {"training.deterministic", Type::kFlag, "true", kWarn, kDeterministic},
    {"training.dataloader.persistent_workers", Type::kFlag, "false", kWarn, kLoader},
    {"training.dataloader.pin_memory", Type::kFlag, "false", kWarn, kLoader},
    {"training.dataloader.prefetch_factor", Type::kInteger, "None", kWarn, kLoader},
    {"debug.deterministic", Type::kFlag, "true", kWarn, kDeterministic},
    {"debug.deterministic_warn_only", Type::kFlag, "false", kWarn, kDeterministic},
    {"debug.moe_force_load_balance", Type::kFlag, "false", kWarn, kNoExperts},

    {"validation.eval_freq", Type::kInteger, "None", kWarn, "validation.freq is used, as in torchtitan"},
    {"validation.dataloader.*", Type::kAny, "None", kWarn, kLoader},

    {"checkpoint.model_weights_only", Type::kFlag, "false", kWarn, kWholeCheckpoint},
    {"checkpoint.last_save_model_weights_only", Type::kFlag, "false", kWarn, kWholeCheckpoint},
    {"checkpoint.last_save_model_only", Type::kFlag, "false", kWarn, kWholeCheckpoint},
    {"checkpoint.last_save_in_hf", Type::kFlag, "false", kWarn, kPlainCheckpoint},
    {"checkpoint.export_dtype", Type::kText, "\"float32\"", kWarn, kWholeCheckpoint},
    {"checkpoint.initial_load_model_only", Type::kFlag, "true", kRefuse, kInitialPath},
    {"checkpoint.initial_load_in_hf", Type::kFlag, "None", kWarn, kInitialPath},
    {"checkpoint.initial_load_in_hf_quantized", Type::kFlag, "false", kRefuse, kNoQuantised},
    {"checkpoint.exclude_from_loading", Type::kList, "[]", kRefuse,
     "a run resumes from a complete checkpoint; checkpoint.initial_load_path loads only weights"},
    {"checkpoint.enable_first_step_checkpoint", Type::kFlag, "false", kWarn,
     "only checkpoint.interval is used; `millrace train` also saves on SIGTERM"},
    {"checkpoint.create_seed_checkpoint", Type::kFlag, "false", kRefuse,
     "the initial weights are the same on any number of ranks without one"},
    {"checkpoint.load_only", Type::kFlag, "false", kRefuse, "set checkpoint.initial_load_path and keep enable false"},
    {"checkpoint.enable_ft_dataloader_checkpoints", Type::kFlag, "true", kWarn, kAllOrNone},

    {"activation_checkpoint.selective_ac_option", Type::kText, "\"op\"", kWarn,
     "mode selective keeps the outputs of matrix products and attention in every block"},
    {"activation_checkpoint.per_op_sac_force_recompute_mm_shapes_by_fqns", Type::kList, "None", kWarn,
     "whole blocks are recomputed, not single operations"},
    {"activation_checkpoint.early_stop", Type::kFlag, "None", kWarn, kNoRandomBlocks},
    {"activation_checkpoint.memory_budget", Type::kNumber, "0.5", kWarn, "there is no mode memory_budget"},
    {"activation_checkpoint.visualize_memory_budget_pareto", Type::kFlag, "false", kWarn,
     "there is no mode memory_budget"},
    {"activation_checkpoint.preserve_rng_state", Type::kFlag, "None", kWarn, kNoRandomBlocks},
    {"activation_checkpoint.determinism_check", Type::kText, "\"default\"", kWarn, kNoRandomBlocks},
    {"activation_checkpoint.debug", Type::kFlag, "false", kWarn, kNoRandomBlocks},

    {"parallelism.pipeline_parallel_degree", Type::kInteger, "1", kRefuse, kFullyShards},
    {"parallelism.context_parallel_degree", Type::kInteger, "1", kRefuse, kFullyShards},
    {"parallelism.expert_parallel_degree", Type::kInteger, "1", kRefuse, kNoExperts},
    {"parallelism.expert_tensor_parallel_degree", Type::kInteger, "1", kRefuse, kNoExperts},
    {"parallelism.expert_parallel_comm_backend", Type::kText, "\"standard\"", kWarn, kNoExperts},
    {"parallelism.enable_async_tensor_parallel", Type::kFlag, "false", kWarn, kNotInThisVersion},
    {"parallelism.enable_compiled_autograd", Type::kFlag, "false", kWarn, kNoCompiler},
    {"parallelism.context_parallel_rotate_method", Type::kText, "\"allgather\"", kWarn, kFullyShards},
    {"parallelism.module_fqns_per_model_part", Type::kAny, "None", kWarn, kFullyShards},
    {"parallelism.pipeline_parallel_*", Type::kAny, "None", kWarn, kFullyShards},

    {"comm.trace_buf_size", Type::kInteger, "20000", kWarn, kWatch},
    {"comm.save_traces_folder", Type::kText, "\"comm_traces\"", kWarn, kWatch},
    {"comm.save_traces_file_prefix", Type::kText, "\"rank_\"", kWarn, kWatch},
    {"comm.mode", Type::kText, "\"default\"", kRefuse, kFullyShards},

    {"compile.enable", Type::kFlag, "false", kWarn, kNoCompiler},
    {"compile.components", Type::kList, "[\"model\", \"loss\"]", kWarn, kNoCompiler},
    {"compile.backend", Type::kText, "\"inductor\"", kWarn, kNoCompiler},

    {"float8.*", Type::kAny, "None", kWarn, kNoQuantised},
    {"mx.*", Type::kAny, "None", kWarn, kNoQuantised},
    {"quantize.*", Type::kAny, "None", kWarn, kNoQuantised},

    {"memory_estimation.enable", Type::kFlag, "false", kRefuse,
     "estimating memory is not supported here; `millrace plan` does it"},
    {"memory_estimation.disable_fake_mode", Type::kFlag, "false", kWarn,
     "estimating memory is not supported here; `millrace plan` does it"},
    {"fault_tolerance.enable", Type::kFlag, "false", kRefuse, kAllOrNone},
    {"fault_tolerance.*", Type::kAny, "None", kWarn, kAllOrNone},
});

}  // namespace

std::vector<ForeignOption> general_foreign_options() {
  return {kOptions.begin(), kOptions.end()};
}

const ForeignOption* find_foreign_option(std::span<const ForeignOption> options, std::string_view name) {
  const ForeignOption* by_prefix = nullptr;
  for (const ForeignOption& option : options) {
    const std::string_view pattern = option.name;
    if (pattern == name) return &option;
    if (pattern.ends_with('*') && name.starts_with(pattern.substr(0, pattern.size() - 1))) by_prefix = &option;
  }
  return by_prefix;
}

TomlValue value_from_text(const ForeignOption& option, const std::string& text, const std::string& place) {
  if (text == "None") return {};
  switch (option.type) {
    case Type::kFlag: {
      const std::string lower = to_lower(text);
      if (lower == "true" || lower == "false") return {.kind = Kind::kBool, .boolean = lower == "true"};
      return TomlValue::of_text(text);
    }
    case Type::kInteger:
    case Type::kNumber:
      if (const auto integer = parse_integer(text)) return {.kind = Kind::kInteger, .integer = *integer};
      if (const auto number = parse_floating_point(text)) return {.kind = Kind::kFloat, .floating = *number};
      return TomlValue::of_text(text);
    case Type::kList: {
      if (starts_with(trim(text), "[")) return parse_toml_value(text, place);
      TomlValue list{.kind = Kind::kList};
      for (const std::string& item : split(text, ',')) {
        if (!trim(item).empty()) list.items.push_back(TomlValue::of_text(std::string(trim(item))));
      }
      return list;
    }
    case Type::kText:
    case Type::kAny:
      break;
  }
  return TomlValue::of_text(text);
}

std::string check_type(const ForeignOption& option, const TomlValue& value) {
  const char* wanted = nullptr;
  switch (option.type) {
    case Type::kFlag:
      if (value.kind != Kind::kBool) wanted = "true or false";
      break;
    case Type::kInteger:
      if (value.kind != Kind::kInteger) wanted = "a whole number";
      break;
    case Type::kNumber:
      if (value.kind != Kind::kInteger && value.kind != Kind::kFloat) wanted = "a number";
      break;
    case Type::kText:
      if (value.kind != Kind::kText) wanted = "a text";
      break;
    case Type::kList:
      if (value.kind != Kind::kList) wanted = "a list";
      break;
    case Type::kAny:
      break;
  }
  if (wanted == nullptr || value.kind == Kind::kNone) return "";
  return str("expected ", wanted, ", got ", describe(value));
}

bool is_harmless(const ForeignOption& option, const TomlValue& value) {
  return toml_text(value) == option.harmless || value.kind == Kind::kNone;
}

}  // namespace millrace
