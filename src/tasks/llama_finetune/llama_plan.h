// Fine-tuning of Llama-style models for the planner.
#pragma once

#include <memory>

#include "plan/planned_task.h"

namespace millrace {

// A sample is planned as finetune.max_seq_len tokens that are all trained: packs are, and no row is longer. Throws
// ConfigError where it is 0.
std::unique_ptr<PlannedTask> plan_llama(const RunConfig& config, bool on_cpu);

}  // namespace millrace
