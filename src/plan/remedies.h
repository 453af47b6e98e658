// What does not fit into the memory of a planned run, and the options that make it fit.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "metrics/run_plan.h"
#include "plan/plan_options.h"
#include "plan/planned_task.h"

namespace millrace {

// The first part of the memory, in the plan's order, that the usable memory has no room for; "": everything fits.
std::string first_obstacle(const RunPlan& plan);

// What the step could do without, the cheapest first: of all tasks, and of this one.
std::vector<PlanRemedy> remedy_candidates(const RunConfig& config, const PlanOptions& options, const PlannedTask& task,
                                          const PlannedStep& step);

// Those that make the run fit by themselves; if none does, the cheap ones together, as far as they are needed. Of
// smaller batches the largest is enough.
std::vector<std::string> find_remedies(const RunConfig& config, const std::vector<PlanRemedy>& all,
                                       const std::function<bool(const RunConfig& changed)>& fits);

}  // namespace millrace
