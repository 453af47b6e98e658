// What a run says about its memory: before its first step, and when it has run out of it.
#pragma once

#include <string>

#include "config/run_config.h"
#include "plan/plan_options.h"
#include "plan/planned_task.h"

namespace millrace {

// One line: the planned peak of a step, its parts, and whether that fits. options: of the machine that the run is on.
// Throws as plan_run() does.
std::string planned_memory(const RunConfig& config, const PlanOptions& options, MakePlannedTask make);

// The same, and the first change that takes less: where the plan expected the run to fit, one that takes a tenth off.
std::string out_of_memory_advice(const RunConfig& config, const PlanOptions& options, MakePlannedTask make);

}  // namespace millrace
