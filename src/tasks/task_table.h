// The one table of tasks: what `millrace train` can run.
#pragma once

#include "config/run_config.h"

namespace millrace {

// Runs the task that config.model names to its end, or resumes it. Throws the exceptions of base/error.h;
// Preempted after a checkpoint when it was asked to stop.
void run_task(const RunConfig& config);

}  // namespace millrace
