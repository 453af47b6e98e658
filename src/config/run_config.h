// Everything that can be set about a run, one struct per section of the TOML file.
//
// Names are torchtitan's where it has them (docs/configuration.md lists the differences). Each section describes its
// members once, in describe(); parsing, command-line overrides, checks, --help, printing and the documentation all
// come from that description.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "config/sections/job.h"
#include "config/sections/mlperf.h"
#include "config/sections/model.h"
#include "config/sections/observing.h"
#include "config/sections/optimizer.h"
#include "config/sections/ranks.h"
#include "config/sections/running.h"
#include "config/sections/training.h"
#include "config/sections/validation.h"

namespace millrace {

struct RunConfig {
  JobConfig job;
  ModelConfig model;
  EncoderConfig encoder;
  TrainingConfig training;
  OptimizerConfig optimizer;
  LrSchedulerConfig lr_scheduler;
  ValidationConfig validation;
  SampleConfig sample;
  CheckpointConfig checkpoint;
  ActivationCheckpointConfig activation_checkpoint;
  ParallelismConfig parallelism;
  CommConfig comm;
  MetricsConfig metrics;
  MlperfConfig mlperf;
  ProfilingConfig profiling;
  ReportConfig report;

  // visit.section(name, meaning, struct) for each section, in the order of the documentation.
  template <typename Visitor>
  void describe(Visitor& visit) {
    visit.section("job", "the run as a whole", job);
    visit.section("model", "what is trained", model);
    visit.section("encoder", "the frozen networks before the model", encoder);
    visit.section("training", "data and steps", training);
    visit.section("optimizer", "the update", optimizer);
    visit.section("lr_scheduler", "the learning rate through the run", lr_scheduler);
    visit.section("validation", "the validation loss ([eval] of the MLPerf files is the same section)", validation);
    visit.section("sample", "pictures drawn during training", sample);
    visit.section("checkpoint", "saving and going on", checkpoint);
    visit.section("activation_checkpoint", "less memory for more computing", activation_checkpoint);
    visit.section("parallelism", "how the run is spread over ranks", parallelism);
    visit.section("comm", "how ranks find and watch each other", comm);
    visit.section("metrics", "what is logged", metrics);
    visit.section("mlperf", "what the MLPerf log states (docs/mlperf.md)", mlperf);
    visit.section("profiling", "traces of single steps", profiling);
    visit.section("report", "the page that sums the run up", report);
  }
  bool operator==(const RunConfig&) const = default;
};

// Reads the TOML file (when path is empty, that of --job.config_file in overrides, or none), then the overrides in
// their order: "--section.key=value",
// "--section.key" "value", "--section.flag", "--section.no_flag". Logs one warning for each accepted torchtitan option
// that has no effect here. Throws ConfigError listing every problem found, one per line, as
// `[file:line:column] expected ..., got ... (try ...)`.
RunConfig load_run_config(const std::filesystem::path& path, const std::vector<std::string>& overrides);

// The three degrees of [parallelism], resolved: their product is world_size.
struct MeshDegrees {
  int dp_replicate = 1;
  int dp_shard = 1;
  int tp = 1;
};
// Throws ConfigError when the degrees do not divide the ranks.
MeshDegrees mesh_degrees(const RunConfig& config, int64_t world_size);

// For looking at a run's result on other ranks than its own: where its degrees do not divide them, all share the
// weights.
void fit_mesh(RunConfig& config, int64_t world_size);

// The checks that need the number of ranks; load_run_config has done the others. Throws ConfigError.
void check_ranks(const RunConfig& config, int64_t world_size);

// A configuration may be read and shown though this version cannot train with it: preprocessed data and torchtitan's
// names for data sets that are no tar shards. Throws ConfigError for those; call before training.
void check_trainable(const RunConfig& config);

// The whole configuration as TOML; load_run_config gives it back unchanged.
std::string to_toml(const RunConfig& config);

}  // namespace millrace
