// How a run can be observed: metrics, profiles, the report.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

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
  bool with_stack = false;
  bool profile_memory = false;
  bool with_flops = false;

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
                       .meaning = "steps without profiler at the start of a cycle, as in torchtune; None: the rest of "
                                  "profile_freq after warmup_steps and active_steps",
                       .at_least = 0});
    visit(warmup_steps, {.name = "warmup_steps",
                         .unit = "steps",
                         .meaning = "steps with the profiler running whose events are discarded",
                         .at_least = 0,
                         .aliases = {"profiling.profiler_warmup"}});
    visit(active_steps, {.name = "active_steps",
                         .unit = "steps",
                         .meaning = "steps recorded in a cycle",
                         .at_least = 1,
                         .aliases = {"profiling.profiler_active"}});
    visit(num_cycles,
          {.name = "num_cycles", .unit = "cycles", .meaning = "traces to record; 0: until the end", .at_least = 0});
    visit(with_stack, {.name = "with_stack",
                       .meaning = "beside each trace, the time of every stack of operators, as flame graphs are drawn "
                                  "from (rank0_stacks.txt)"});
    visit(profile_memory,
          {.name = "profile_memory",
           .meaning = "record in the traces each allocation, on a CPU of 1 MiB and more, and the memory in use"});
    visit(with_flops,
          {.name = "with_flops",
           .meaning = "count the floating-point operations of matrix products, in the table beside each trace"});
  }
  bool operator==(const ProfilingConfig&) const = default;
};

struct MetricsConfig {
  int64_t log_freq = 10;
  bool log_to_console = true;
  bool enable_tensorboard = false;
  std::string save_tb_folder = "tb";
  bool save_for_all_ranks = false;

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
           .meaning =
               "every rank writes its own log, log-rank-1.txt and so on; otherwise only the first rank writes one"});
  }
  bool operator==(const MetricsConfig&) const = default;
};

struct ReportConfig {
  bool enable = true;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(enable, {.name = "enable", .meaning = "write report.html: curves, samples over time, configuration"});
  }
  bool operator==(const ReportConfig&) const = default;
};

}  // namespace millrace
