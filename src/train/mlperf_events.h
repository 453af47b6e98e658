// What a run says in its MLPerf log, and when: the events of MLCommons' reference for text to image, in its order, and
// those that rules 6.1 ask for. The first rank writes; docs/mlperf.md explains the values.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>

#include "comm/mesh.h"
#include "config/run_config.h"
#include "formats/mlperf_log.h"

namespace millrace {

// metrics.mlperf_logging; where that is not set, true for a run that validates by samples and has a target, as the
// benchmark's do.
bool logs_for_mlperf(const RunConfig& config);

// What the configuration leaves open.
struct MlperfRun {
  int64_t samples_per_step = 0;
  int64_t gradient_accumulation_steps = 1;
  int64_t evaluation_interval_steps = 1;
  int64_t warmup_steps = 0;
  uint64_t seed = 0;
  MeshShape mesh;
  torch::Dtype compute_dtype = torch::kFloat32;
};

class MlperfEvents {
 public:
  // Logs cache_clear, what describes the submission and the run, and init_start, as of now. append: the run goes on
  // from a checkpoint, and so does its log.
  MlperfEvents(const std::filesystem::path& path, bool append, const RunConfig& config, const MlperfRun& run);

  // init_stop and run_start: when the first batch is there, behind a barrier.
  void run_starts();
  bool is_running() const { return state_ == State::kRunning; }

  // step counts from 1. block_start, tracked_stats and block_stop are logged for step 1 and each metrics.log_freq
  // steps after it; tracked_stats speaks of all steps since the one before, without what lies between steps.
  void step_starts(int64_t step);
  void step_ends(int64_t step, double loss, double lr);

  void evaluation_starts(int64_t step);
  void evaluation_ends(int64_t step, double loss);

  // run_stop, once; nothing when the run had not started.
  void run_stops(bool success);

 private:
  enum class State { kInitialising, kRunning, kStopped };
  bool is_logged(int64_t step) const { return (step - 1) % log_freq_ == 0; }
  nlohmann::ordered_json samples_before(int64_t step) const;

  MlperfLog log_;
  State state_ = State::kInitialising;
  int64_t log_freq_;
  int64_t samples_per_step_;
  bool is_open_division_;
  double step_start_ = 0;
  double tracked_seconds_ = 0;
  int64_t tracked_steps_ = 0;
};

}  // namespace millrace
