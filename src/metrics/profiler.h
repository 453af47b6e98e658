// Kineto traces of chosen steps, in Chrome's trace format.
#pragma once

#include <cstdint>
#include <filesystem>

#include "config/run_config.h"

namespace millrace {

// Cycles of waiting, warming up and recording: wait_steps, warmup_steps, active_steps and num_cycles as in
// torchtune; without wait_steps a cycle is profile_freq steps long, as in torchtitan. Traces are written to
// <dump_folder>/<save_traces_folder>/iteration_<step>/rank<N>_trace.json, one per rank, with the longest operators in
// rank<N>_key_averages.txt and, with with_stack, all stacks of operators in rank<N>_stacks.txt (profile_tables.h).
class StepProfiler {
 public:
  StepProfiler(const ProfilingConfig& config, const std::filesystem::path& dump_folder, int rank = 0);
  // Ends a running recording without a trace.
  ~StepProfiler();
  StepProfiler(const StepProfiler&) = delete;
  StepProfiler& operator=(const StepProfiler&) = delete;

  // Call after every step.
  void step(int64_t step_number);

 private:
  void begin_phase();

  ProfilingConfig config_;
  std::filesystem::path folder_;
  int rank_;
  int64_t wait_steps_ = 0;
  int64_t position_ = 0;  // steps into the cycle
  int64_t cycles_done_ = 0;
  bool recording_ = false;
};

}  // namespace millrace
