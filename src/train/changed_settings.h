// Settings that affect a run's results, kept in its checkpoints, so that a resumed run can report changes.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <map>
#include <string>

#include "config/run_config.h"

namespace millrace {

// "section.key" -> the value as in TOML.
using Settings = std::map<std::string, std::string>;

// The settings of model, encoders, training, optimizer, schedule and validation that change weights or losses by more
// than rounding, but not those about where and how a run computes, saves or logs. Values that depend on the machine or
// the ranks are resolved: training.global_batch_size is samples_per_step, training.mixed_precision_param the dtype of
// the arithmetic, lr_scheduler.total_steps follows from training.steps.
Settings result_settings(const RunConfig& config, int64_t samples_per_step, torch::Dtype compute_dtype);
// The settings in a run's config.toml, for checkpoints that hold none; empty when it cannot be read.
Settings settings_in_file(const std::filesystem::path& config_toml);

// One line for each common setting that differs: "optimizer.lr: 0.0001 -> 0.0002". Settings that only one of them has
// are ignored: another version of the program wrote the other.
std::vector<std::string> changed_settings(const Settings& before, const Settings& now);

}  // namespace millrace
