// How many frozen blocks of a run lie in host memory, where the configuration leaves that to the plan.
#pragma once

#include <memory>
#include <string>

#include "config/run_config.h"
#include "plan/plan_options.h"
#include "plan/planned_task.h"

namespace millrace {

// lora.offload_blocks: "auto" or a number; "" where the task has no such option.
std::string offload_setting(const RunConfig& config);
void set_offload(RunConfig& config, const std::string& setting);

// A copy of the configuration in which a number has taken the place of auto: the fewest blocks with which the run fits;
// all of them where no number is enough; 0 on a CPU, and on ranks that share the frozen weights.
std::unique_ptr<RunConfig> settle_offload(const RunConfig& config, const PlanOptions& options, MakePlannedTask make);

}  // namespace millrace
