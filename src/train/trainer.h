// The step loop: steps, validations, checkpoints, metrics, previews, stopping. Knows no model, task or optimizer by
// name.
#pragma once

#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "config/run_config.h"
#include "train/run_listener.h"
#include "train/task.h"

namespace millrace {

// Runs the task to training.steps, resuming from the newest checkpoint, if any, in the run's folder (see run_folder.h),
// which must be open and have something to do. Warns of settings that have changed since. The final weights are
// bit for bit the same however often the run was interrupted.
//
// Called on every rank, with a task for the same ranks. All do the same number of steps; the first writes log, metrics,
// report and previews. listeners: of this rank; ranks may have different ones. Throws, at the same step on all
// ranks: Preempted after a checkpoint when a signal asked any rank to stop; NumericsError (nothing is overwritten) when
// a loss or gradient is not finite. Other errors are local: the caller tells the other ranks through ranks.watch().
void train(Task& task, const RunConfig& config, Communicator& ranks,
           std::vector<std::unique_ptr<RunListener>> listeners = {});

}  // namespace millrace
