// The resources that a run on a cluster needs: memory by running the task's own code on meta tensors, time from its
// arithmetic.
#pragma once

#include <vector>

#include "config/run_config.h"
#include "metrics/run_plan.h"
#include "plan/plan_options.h"
#include "plan/planned_task.h"

namespace millrace {

// make: for the configuration's task. Throws ConfigError if the configuration does not fit the number of GPUs.
RunPlan plan_run(const RunConfig& config, const PlanOptions& options, MakePlannedTask make);
// Whether the GPU's memory is enough, and nothing else. lora.offload_blocks must be a number.
bool run_fits(const RunConfig& config, const PlanOptions& options, MakePlannedTask make);
// Every mesh of that many GPUs with every recompute mode; of those that fit, the fastest first.
std::vector<RunPlan> sweep_run(const RunConfig& config, const PlanOptions& options, MakePlannedTask make);

}  // namespace millrace
