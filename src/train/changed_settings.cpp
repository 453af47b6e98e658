#include "train/changed_settings.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "config/lr_schedule_rules.h"
#include "config/optimizer_rules.h"
#include "config/option_table.h"
#include "config/toml_file.h"

namespace millrace {
namespace {

constexpr std::array<std::string_view, 8> kSections = {"model",     "encoder",      "training", "optimizer",
                                                       "objective", "lr_scheduler", "lora",     "finetune"};

// In these sections: how the same numbers are computed, and how far.
constexpr std::array<std::string_view, 20> kWithoutInfluence = {
    "finetune.cache_tokens",   "finetune.cache_folder",     "encoder.cache_folder",     "encoder.shard",
    "training.steps",          "training.local_batch_size", "training.max_bad_samples", "training.num_workers",
    "training.device",         "finetune.epochs",           "finetune.save_model",      "finetune.save_merged",
    "finetune.result_folders", "lora.offload_blocks",       "lora.kohya_files",         "lora.kohya_name",
    "lora.kohya_every_steps",  "lora.kohya_every_epochs",   "lora.kohya_last_steps",    "lora.kohya_last_epochs"};

// In other sections: the data of a validation loss, where the run ends, and its initial weights.
constexpr std::array<std::string_view, 7> kOthers = {"validation.dataset",
                                                     "validation.dataset_path",
                                                     "validation.split",
                                                     "validation.steps",
                                                     "validation.all_timesteps",
                                                     "validation.target_loss",
                                                     "checkpoint.initial_load_path"};

template <size_t kSize>
bool contains(const std::array<std::string_view, kSize>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Caches that hold what would be computed anyhow are alike; sd-scripts' have draws of their own.
bool are_alike(const std::string& name, const std::string& before, const std::string& now) {
  const bool is_cache = name == "encoder.cache_latents" || name == "encoder.cache_encodings";
  const auto has_draws = [](const std::string& text) { return text == "\"npz\""; };
  return before == now || (is_cache && !has_draws(before) && !has_draws(now));
}

bool decides_result(const std::string& section, const std::string& name) {
  return contains(kOthers, name) || (contains(kSections, section) && !contains(kWithoutInfluence, name));
}

Settings settings_of(RunConfig& config) {
  config.optimizer = with_rule_defaults(config.optimizer);
  config.lr_scheduler = with_schedule_defaults(config.lr_scheduler);
  config.training.seed = config.training.seed.value_or(0);
  LrSchedulerConfig& schedule = config.lr_scheduler;
  schedule.total_steps = schedule.total_steps.value_or(config.training.steps);
  Settings settings;
  for (const OptionSection& section : option_sections(config)) {
    for (const Option& option : section.options) {
      const std::string name = option.full_name();
      if (decides_result(section.name, name)) settings[name] = value_text(option);
    }
  }
  if (schedule.decay_ratio && *schedule.decay_ratio == 0) settings.erase("lr_scheduler.total_steps");
  return settings;
}

// An explanation for the reader of the line.
std::string_view remark(const std::string& name, bool is_lora) {
  if (name == "lr_scheduler.total_steps") return " (None there: training.steps)";
  if (name == "training.global_batch_size") return " (samples in a step of all ranks)";
  if (name == "checkpoint.initial_load_path") {
    return is_lora ? " (the adapters were trained on the others)"
                   : " (without effect: the weights are the checkpoint's)";
  }
  return "";
}

}  // namespace

Settings result_settings(const RunConfig& config, int64_t samples_per_step, torch::Dtype compute_dtype) {
  const std::unique_ptr<RunConfig> resolved = config.clone();
  resolved->training.global_batch_size = samples_per_step;
  resolved->training.mixed_precision_param = compute_dtype == torch::kBFloat16 ? "bfloat16" : "float32";
  return settings_of(*resolved);
}

Settings settings_in_file(const std::filesystem::path& config_toml) {
  std::error_code ignored;
  if (!std::filesystem::exists(config_toml, ignored)) return {};
  try {
    Settings settings{{"training.seed", "0"}};
    std::string steps;
    for (const TomlSection& section : read_toml_file(config_toml)) {
      for (const TomlEntry& entry : section.entries) {
        const std::string name = section.name + "." + entry.key;
        if (decides_result(section.name, name)) settings[name] = toml_text(entry.value);
        if (name == "training.steps") steps = toml_text(entry.value);
      }
    }
    // Values that are not set there, or depend on the machine and the ranks.
    settings.try_emplace("lr_scheduler.total_steps", steps);
    const auto is = [&](const char* name, const char* value) {
      const auto found = settings.find(name);
      return found != settings.end() && found->second == value;
    };
    if (is("lr_scheduler.decay_ratio", "0.0")) settings.erase("lr_scheduler.total_steps");
    if (is("training.global_batch_size", "-1")) settings.erase("training.global_batch_size");
    if (is("training.mixed_precision_param", "\"auto\"")) settings.erase("training.mixed_precision_param");
    return settings;
  } catch (const Error&) {  // of another version, or edited: the run's settings are then unknown
    return {};
  }
}

std::vector<std::string> changed_settings(const Settings& before, const Settings& now) {
  std::vector<std::string> lines;
  const bool is_lora = now.contains("lora.rank");
  for (const auto& [name, value] : now) {
    const auto old = before.find(name);
    if (old == before.end() || are_alike(name, old->second, value)) continue;
    lines.push_back(str(name, ": ", old->second, " -> ", value, remark(name, is_lora)));
  }
  return lines;
}

}  // namespace millrace
