#include "metrics/profiler.h"

#include <torch/csrc/autograd/profiler_kineto.h>
#include <torch/cuda.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <vector>

#include "base/files.h"
#include "base/log.h"
#include "metrics/profile_tables.h"

namespace millrace {
namespace {

namespace prof = torch::autograd::profiler;
using torch::profiler::impl::ActivityType;
using torch::profiler::impl::ProfilerConfig;
using torch::profiler::impl::ProfilerState;

std::set<ActivityType> activities() {
  std::set<ActivityType> chosen = {ActivityType::CPU};
  if (torch::cuda::is_available()) chosen.insert(ActivityType::CUDA);
  return chosen;
}

ProfilerConfig kineto(const ProfilingConfig& config) {
  return ProfilerConfig(ProfilerState::KINETO, /*report_input_shapes=*/true, config.profile_memory,
                        /*with_stack=*/false, config.with_flops);  // with_stack means Python's
}

std::vector<ProfiledCall> calls_of(const prof::ProfilerResult& result) {
  std::vector<ProfiledCall> calls;
  for (const prof::KinetoEvent& event : result.events()) {
    const bool is_on_device = event.deviceType() != c10::DeviceType::CPU;
    if (event.isHiddenEvent() || event.isAsync() || (!is_on_device && event.durationNs() == 0)) continue;
    calls.push_back({.name = event.name(),
                     .is_on_device = is_on_device,
                     .thread = event.startThreadId(),
                     .begin_ns = event.startNs(),
                     .duration_ns = event.durationNs(),
                     .number = is_on_device ? 0 : event.correlationId(),
                     .launched_by = is_on_device ? event.linkedCorrelationId() : 0,
                     .flops = event.flops()});
  }
  return calls;
}

}  // namespace

StepProfiler::StepProfiler(const ProfilingConfig& config, const std::filesystem::path& dump_folder, int rank)
    : config_(config), folder_(dump_folder / config.save_traces_folder), rank_(rank) {
  wait_steps_ =
      config.wait_steps.value_or(std::max<int64_t>(0, config.profile_freq - config.warmup_steps - config.active_steps));
  // Without a GPU Kineto reports that as an error each time.
  if (config.enable_profiling && !torch::cuda::is_available()) ::setenv("KINETO_LOG_LEVEL", "5", /*overwrite=*/0);
  begin_phase();
}

StepProfiler::~StepProfiler() {
  if (recording_) prof::disableProfiler();
}

void StepProfiler::begin_phase() {
  if (!config_.enable_profiling || recording_) return;
  if (config_.num_cycles > 0 && cycles_done_ >= config_.num_cycles) return;
  // Preparing is slow and slows down the next steps, which pass before recording begins.
  if (position_ == wait_steps_) prof::prepareProfiler(kineto(config_), activities());
  if (position_ == wait_steps_ + config_.warmup_steps) {
    prof::enableProfiler(kineto(config_), activities());
    recording_ = true;
  }
}

void StepProfiler::step(int64_t step_number) {
  if (!config_.enable_profiling) return;
  ++position_;
  if (recording_ && position_ == wait_steps_ + config_.warmup_steps + config_.active_steps) {
    recording_ = false;
    if (torch::cuda::is_available()) torch::cuda::synchronize();  // pending kernels belong in the trace
    const auto result = prof::disableProfiler();
    const std::filesystem::path folder = folder_ / str("iteration_", step_number);
    create_folders(folder);
    const std::string path = (folder / str("rank", rank_, "_trace.json")).string();
    result->save(path);
    const std::vector<ProfiledCall> calls = calls_of(*result);
    write_file_atomically(folder / str("rank", rank_, "_key_averages.txt"),
                          key_averages_table(calls, config_.with_flops));
    if (config_.with_stack) write_file_atomically(folder / str("rank", rank_, "_stacks.txt"), operator_stacks(calls));
    log_info("trace of ", config_.active_steps, " steps: ", path);
    position_ = 0;
    ++cycles_done_;
  }
  begin_phase();
}

}  // namespace millrace
