// The step loop: gradients, clipping, optimizer, schedule, checkpoints, metrics, samples, stopping. Knows no model and
// no task by name.
#pragma once

#include "comm/communicator.h"
#include "config/run_config.h"
#include "train/task.h"

namespace millrace {

// Runs the task to training.steps, going on from the newest checkpoint in the run's folder when there is one. The
// weights at the end are bit for bit the same however often the run was interrupted.
//
// Called on every rank, with a task that knows the same ranks. All do the same number of steps; the first writes log,
// metrics, report and samples. Throws, at the same step on all ranks: Preempted after a checkpoint when a signal asked
// any rank to stop; NumericsError (nothing saved over) when a loss or gradient is not finite. Other errors are one
// rank's own: the caller tells the others through ranks.watch().
void train(Task& task, const RunConfig& config, Communicator& ranks);

}  // namespace millrace
