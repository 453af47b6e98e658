// Everything that can be set about a run, one struct per section of the TOML file.
//
// RunConfig holds the options of every task; a task derives from it and adds its own sections, or options to a section
// (diffusion/flux_run_config.h). Names are torchtitan's where it has them (docs/configuration.md lists the
// differences). Each section describes its members once, in describe(); parsing, command-line overrides, checks,
// --help, printing and the documentation all come from that description.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "config/foreign_options.h"
#include "config/given_options.h"
#include "config/option.h"
#include "config/problems.h"
#include "config/sections/job.h"
#include "config/sections/observing.h"
#include "config/sections/optimizer.h"
#include "config/sections/ranks.h"
#include "config/sections/running.h"
#include "config/sections/training.h"
#include "config/sections/validation.h"

namespace millrace {

struct TaskKind;  // config/task_kind.h

struct RunConfig {
  JobConfig job;
  TrainingConfig training;
  OptimizerConfig optimizer;
  LrSchedulerConfig lr_scheduler;
  ValidationConfig validation;
  CheckpointConfig checkpoint;
  ActivationCheckpointConfig activation_checkpoint;
  ParallelismConfig parallelism;
  CommConfig comm;
  MetricsConfig metrics;
  ProfilingConfig profiling;
  ReportConfig report;

  RunConfig() = default;
  virtual ~RunConfig() = default;
  virtual std::unique_ptr<RunConfig> clone() const { return std::make_unique<RunConfig>(*this); }

  // visit.section(name, meaning, struct) for each section, in the order of the documentation. A task describes its own
  // after these.
  virtual void describe(OptionCollector& visit);
  // Adds options that contradict each other; each single option was checked when it was read.
  virtual void check(Problems& problems) const;
  // Adds problems that prevent training, but not reading or showing the configuration: no data, for example.
  virtual void check_trainable(Problems& problems) const;
  // torchtitan's options that have no effect here, with the answer to each.
  virtual std::vector<ForeignOption> foreign_options() const { return general_foreign_options(); }
  // Derives settings from which options were given, after all of them were read.
  virtual void apply(const GivenOptions&) {}

  bool operator==(const RunConfig&) const = default;
};

// Chooses the task, by job.task; where that is not set, the first that trains model.name, and with a [lora] section the
// first of these that is a LoRA task. Reads the TOML file (when path is empty, that of --job.config_file in overrides,
// or none), then the overrides in their order: "--section.key=value",
// "--section.key" "value", "--section.flag", "--section.no_flag". Logs one warning for each accepted torchtitan option
// that has no effect here. Throws ConfigError listing every problem found, one per line, as
// `[file:line:column] expected ..., got ... (try ...)`; an option of another task is named with its task. The result
// has the type that the task's TaskKind::make_config() makes, and job.task is set.
std::unique_ptr<RunConfig> load_run_config(std::span<const TaskKind> tasks, const std::filesystem::path& path,
                                           const std::vector<std::string>& overrides);

// The three degrees of [parallelism], resolved: their product is world_size.
struct MeshDegrees {
  int dp_replicate = 1;
  int dp_shard = 1;
  int tp = 1;
};
// Throws ConfigError when the degrees do not divide the ranks.
MeshDegrees mesh_degrees(const RunConfig& config, int64_t world_size);

// For using a run's result on a different number of ranks: if its degrees do not divide that number, all ranks share
// one copy of the weights.
void fit_mesh(RunConfig& config, int64_t world_size);

// The checks that need the number of ranks; load_run_config does the others. Throws ConfigError.
void check_ranks(const RunConfig& config, int64_t world_size);

// Throws ConfigError with the problems that check_trainable() finds; call before training.
void require_trainable(const RunConfig& config);

// The whole configuration as TOML; load_run_config gives it back unchanged.
std::string to_toml(const RunConfig& config);

}  // namespace millrace
