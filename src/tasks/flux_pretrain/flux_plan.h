// What pretraining FLUX on a cluster would take: memory from the model's own code, time from its arithmetic.
#pragma once

#include "config/run_config.h"
#include "metrics/run_plan.h"
#include "train/plan_options.h"

namespace millrace {

// Throws ConfigError where the configuration does not fit the number of GPUs.
RunPlan plan_flux_pretrain(const RunConfig& config, const PlanOptions& options);
// Every mesh of that many GPUs with every recompute mode, the fastest that fits first.
std::vector<RunPlan> sweep_flux_pretrain(const RunConfig& config, const PlanOptions& options);

}  // namespace millrace
