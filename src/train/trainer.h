// The step loop: gradients, clipping, optimizer, schedule, checkpoints, metrics, samples, stopping. Knows no model and
// no task by name.
#pragma once

#include "config/run_config.h"
#include "train/task.h"

namespace millrace {

// Runs the task to training.steps, going on from the newest checkpoint in the run's folder when there is one. The
// weights at the end are bit for bit the same however often the run was interrupted. Throws Preempted after a
// checkpoint when a signal asked to stop, NumericsError (nothing saved over) when a loss or gradient is not finite.
void train(Task& task, const RunConfig& config);

}  // namespace millrace
