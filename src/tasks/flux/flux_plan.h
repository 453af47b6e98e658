// What the planner must be told of training FLUX.
#pragma once

#include <memory>

#include "config/run_config.h"
#include "plan/planned_task.h"

namespace millrace {

// Throws ConfigError where the configuration does not fit together.
std::unique_ptr<PlannedTask> plan_flux(const RunConfig& config, bool on_cpu);

}  // namespace millrace
