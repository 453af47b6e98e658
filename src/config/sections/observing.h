// What a run shows of itself: metrics, profiles, sample pictures, the report.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/option.h"

namespace millrace {

struct ProfilingConfig {
  bool enable_profiling = false;
  std::string save_traces_folder = "profile_traces";
  int64_t profile_freq = 10;
  std::optional<int64_t> wait_steps;  // unset: profile_freq - warmup_steps - active_steps
  int64_t warmup_steps = 3;
  int64_t active_steps = 1;
  int64_t num_cycles = 0;  // 0: until the end of the run

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(enable_profiling, {.name = "enable_profiling", .meaning = "record Kineto traces (Chrome trace format)"});
    visit(save_traces_folder,
          {.name = "save_traces_folder", .meaning = "folder of the traces, inside job.dump_folder"});
    visit(profile_freq, {.name = "profile_freq",
                         .unit = "steps",
                         .meaning = "length of one cycle of waiting, warming up and recording",
                         .at_least = 1});
    visit(wait_steps, {.name = "wait_steps",
                       .unit = "steps",
                       .meaning = "steps without profiler at the start of a cycle, as in torchtune; None: what "
                                  "profile_freq leaves beside warmup_steps and active_steps",
                       .at_least = 0});
    visit(warmup_steps, {.name = "warmup_steps",
                         .unit = "steps",
                         .meaning = "steps with the profiler on whose events are dropped",
                         .at_least = 0,
                         .aliases = {"profiling.profiler_warmup"}});
    visit(active_steps, {.name = "active_steps",
                         .unit = "steps",
                         .meaning = "steps recorded in a cycle",
                         .at_least = 1,
                         .aliases = {"profiling.profiler_active"}});
    visit(num_cycles,
          {.name = "num_cycles", .unit = "cycles", .meaning = "traces to record; 0: until the end", .at_least = 0});
  }
  bool operator==(const ProfilingConfig&) const = default;
};

struct MetricsConfig {
  int64_t log_freq = 10;
  bool log_to_console = true;
  bool enable_tensorboard = false;
  std::string save_tb_folder = "tb";
  bool save_for_all_ranks = false;
  std::optional<bool> mlperf_logging;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(log_freq, {.name = "log_freq",
                     .unit = "steps",
                     .meaning = "steps between two log lines; the first step is always logged",
                     .at_least = 1});
    visit(log_to_console, {.name = "log_to_console",
                           .meaning = "print the log line (metrics.jsonl is written in any case)",
                           .torchtitan_default = "false in the MLPerf branch"});
    visit(enable_tensorboard, {.name = "enable_tensorboard", .meaning = "write TensorBoard event files"});
    visit(save_tb_folder,
          {.name = "save_tb_folder", .meaning = "folder of the TensorBoard files, inside job.dump_folder"});
    visit(save_for_all_ranks,
          {.name = "save_for_all_ranks",
           .meaning = "every rank writes its own log, log-rank-1.txt and so on; else the first rank alone writes one"});
    visit(mlperf_logging, {.name = "mlperf_logging",
                           .meaning = "write the MLPerf log to stdout and mlperf_compliance.log; None: when "
                                      "validation.freq_samples and validation.target_loss are set",
                           .torchtitan_default = "true in the MLPerf branch"});
  }
  bool operator==(const MetricsConfig&) const = default;
};

struct SampleConfig {
  int64_t every_steps = 0;  // 0: never
  std::vector<std::string> prompts;
  std::string prompts_file;
  int64_t denoising_steps = 50;
  double guidance_scale = 1.0;
  int64_t seed = 0;
  int64_t img_size = 0;      // 0: training.img_size
  int64_t grid_columns = 0;  // 0: as square as possible
  int64_t local_batch_size = 16;
  std::optional<bool> shift;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(every_steps, {.name = "every_steps",
                        .unit = "steps",
                        .meaning = "steps between two grids of sample pictures in job.dump_folder/samples; 0: none",
                        .at_least = 0});
    visit(prompts, {.name = "prompts", .meaning = "what to draw, one picture per prompt"});
    visit(prompts_file, {.name = "prompts_file",
                         .meaning = "file with one prompt per line, instead of prompts",
                         .none_is_empty = true,
                         .aliases = {"inference.prompts_path"}});
    visit(denoising_steps, {.name = "denoising_steps",
                            .unit = "steps",
                            .meaning = "Euler steps from noise to picture",
                            .at_least = 1,
                            .aliases = {"validation.denoising_steps", "eval.denoising_steps"}});
    visit(guidance_scale,
          {.name = "guidance_scale",
           .meaning = "classifier-free guidance: v = v_empty + scale * (v_prompt - v_empty); 1: off",
           .at_least = 0,
           .aliases = {"validation.classifier_free_guidance_scale", "validation.classifer_free_guidance_scale",
                       "eval.classifier_free_guidance_scale", "eval.classifer_free_guidance_scale"},
           .torchtitan_default = "5.0, off"});
    visit(seed, {.name = "seed", .meaning = "seed of the starting noise, the same for every grid", .at_least = 0});
    visit(img_size, {.name = "img_size",
                     .unit = "pixels",
                     .meaning = "side of a picture; 0: training.img_size",
                     .at_least = 0,
                     .at_most = 65536,
                     .aliases = {"inference.img_size"}});
    visit(grid_columns,
          {.name = "grid_columns", .meaning = "columns of a grid; 0: as square as possible", .at_least = 0});
    visit(local_batch_size,
          {.name = "local_batch_size",
           .unit = "pictures",
           .meaning = "pictures that one rank draws at a time; with guidance the model computes twice as many",
           .at_least = 1,
           .at_most = 1 << 24,
           .aliases = {"inference.batch_size", "inference.local_batch_size"}});
    visit(shift, {.name = "shift",
                  .meaning = "spend more steps near noise, the more the more image tokens; None: as Black Forest Labs "
                             "do, for models with guidance_embed (FLUX.1-dev)",
                  .torchtitan_default = "true"});
  }
  bool operator==(const SampleConfig&) const = default;
};

struct ReportConfig {
  bool enable = true;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(enable, {.name = "enable", .meaning = "write report.html: curves, samples through time, configuration"});
  }
  bool operator==(const ReportConfig&) const = default;
};

}  // namespace millrace
