// What a run on a cluster would take: memory from the task's own code on tensors without memory, time from its
// arithmetic.
#pragma once

#include <vector>

#include "config/run_config.h"
#include "metrics/run_plan.h"
#include "plan/plan_options.h"
#include "plan/planned_task.h"

namespace millrace {

// make: of the configuration's task. Throws ConfigError where the configuration does not fit the number of GPUs.
RunPlan plan_run(const RunConfig& config, const PlanOptions& options, MakePlannedTask make);
// Every mesh of that many GPUs with every recompute mode, the fastest that fits first.
std::vector<RunPlan> sweep_run(const RunConfig& config, const PlanOptions& options, MakePlannedTask make);

}  // namespace millrace
