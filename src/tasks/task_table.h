// The one table of tasks: what `millrace train` can run, and `millrace evaluate` judge.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "comm/world.h"
#include "config/run_config.h"
#include "metrics/run_plan.h"
#include "train/evaluate.h"
#include "train/plan_options.h"

namespace millrace {

// Runs the task that config.model names to its end, or resumes it, as one rank of world. version: of the program; ranks
// of another one are refused. Throws the exceptions of base/error.h; Preempted after a checkpoint when it was asked to
// stop. What one rank throws, the others learn before they leave.
void run_task(const RunConfig& config, const World& world, const std::string& version);

// The validation loss of weights (see train/evaluate.h); config says the data.
Evaluation evaluate_task(const RunConfig& config, const World& world, const std::string& version,
                         const std::optional<CheckpointWeights>& weights);

// What the same run would take, without running it; and every mesh of that many GPUs, the fastest that fits first.
RunPlan plan_task(const RunConfig& config, const PlanOptions& options);
std::vector<RunPlan> sweep_task(const RunConfig& config, const PlanOptions& options);

}  // namespace millrace
