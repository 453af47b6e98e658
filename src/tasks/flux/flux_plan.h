// FLUX training as the planner sees it.
#pragma once

#include <memory>

#include "config/run_config.h"
#include "plan/planned_task.h"

namespace millrace {

// Throws ConfigError if the configuration is inconsistent.
std::unique_ptr<PlannedTask> plan_flux(const RunConfig& config, bool on_cpu);

}  // namespace millrace
