// Settings that decide what a run computes, kept in its checkpoints, so that a resumed run can say what has changed.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <map>
#include <string>

#include "config/run_config.h"

namespace millrace {

// "section.key" -> the value as in TOML.
using Settings = std::map<std::string, std::string>;

// Of model, encoders, training, optimizer, schedule and validation those that change weights or losses by more than
// rounding; none that say where and how a run computes, saves or logs. What depends on the machine or the ranks is
// resolved: training.global_batch_size is samples_per_step, training.mixed_precision_param the dtype of the arithmetic,
// lr_scheduler.total_steps what training.steps makes it.
Settings result_settings(const RunConfig& config, int64_t samples_per_step, torch::Dtype compute_dtype);
// Those that a run's config.toml tells by itself, for checkpoints that hold none; none when it cannot be read.
Settings settings_in_file(const std::filesystem::path& config_toml);

// One line for each that both have and that differs: "optimizer.lr: 0.0001 -> 0.0002". What only one of them knows is
// passed over: another version of the program wrote the other.
std::vector<std::string> changed_settings(const Settings& before, const Settings& now);

}  // namespace millrace
