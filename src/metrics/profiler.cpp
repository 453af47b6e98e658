#include "metrics/profiler.h"

#include <torch/csrc/autograd/profiler_kineto.h>
#include <torch/cuda.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "base/files.h"
#include "base/log.h"

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

ProfilerConfig kineto() {
  return ProfilerConfig(ProfilerState::KINETO, /*report_input_shapes=*/true, /*profile_memory=*/false);
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
  if (position_ == wait_steps_) prof::prepareProfiler(kineto(), activities());
  if (position_ == wait_steps_ + config_.warmup_steps) {
    prof::enableProfiler(kineto(), activities());
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
    log_info("trace of ", config_.active_steps, " steps: ", path);
    position_ = 0;
    ++cycles_done_;
  }
  begin_phase();
}

}  // namespace millrace
