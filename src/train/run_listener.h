// The events of a run, for code that keeps a record of it, such as MLPerf's log.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "comm/mesh.h"
#include "metrics/metric_logger.h"
#include "train/task.h"

namespace millrace {

// Facts about a run that the configuration alone does not tell.
struct RunFacts {
  bool resumes = false;  // from a checkpoint of an earlier process
  int64_t samples_per_step = 0;
  int64_t microbatches_per_step = 1;
  int64_t validation_interval = 1;  // steps
  int64_t warmup_steps = 0;         // of the learning rate
  uint64_t seed = 0;
  MeshShape mesh;
  torch::Dtype compute_dtype = torch::kFloat32;
};

enum class RunEnd {
  kTargetReached,  // by a validation
  kStepsDone,
  kStopped,  // by a signal
  kFailed,
  kOutOfPatience,  // too many validations without a better one
};

// A complete checkpoint in the run's folder.
struct SavedCheckpoint {
  int64_t step = 0;
  std::optional<int64_t> epoch;  // that is over with it (Task::epoch_to_save())
  bool is_new = true;            // else it was there when the process started
};

// Ranks with a listener get events in the order of these functions: the first three once, then every step and
// validation. A process that finds nothing left to do has no events. An exception from a listener ends the run, except
// at the end of a run that was stopped or has failed, where it is logged as a warning.
class RunListener {
 public:
  virtual ~RunListener() = default;
  // For messages, and for its state in checkpoints: unique among a run's listeners.
  virtual std::string name() const = 0;

  // The model is built. A new run has not looked for a checkpoint yet; a resumed one has loaded its own, and restore()
  // comes next.
  virtual void run_prepares(const RunFacts&) {}
  // All ranks have their first batch.
  virtual void run_starts() {}
  // step counts from 1. Time between two steps belongs to neither. A step without anything to learn from ends
  // with a NaN loss.
  virtual void step_starts(int64_t /*step*/) {}
  virtual void step_ends(const StepMetrics&) {}
  // step: how many are done.
  virtual void validation_starts(int64_t /*step*/) {}
  virtual void validation_ends(int64_t /*step*/, const ValidationResult&) {}
  // When it is complete and still there: at its step or, where it was written in the background, at a later one, but
  // before the next one is begun; that of the run's last step comes after run_ends(). A resumed run begins with those
  // that it finds, oldest first.
  virtual void checkpoint_saved(const SavedCheckpoint&) {}
  // Before the last checkpoint is written. kFailed also comes when the run has not started.
  virtual void run_ends(RunEnd) {}

  // State to keep when the run is interrupted, as JSON; "": none. Checkpoints contain the state of the first
  // rank's listeners.
  virtual std::string state() const { return ""; }
  virtual void restore(const std::string& /*state*/) {}
};

}  // namespace millrace
