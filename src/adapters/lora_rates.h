// Learning rates of their own for some adapters, beside the optimizer that is to follow them.
#pragma once

#include "adapters/lora_options.h"
#include "config/problems.h"
#include "config/sections/optimizer.h"

namespace millrace {

// Adds a problem for rates of their own with a rule that finds one step size for all parameters.
void check_lora_rates(const LoraConfig& config, const OptimizerConfig& optimizer, Problems& problems);

}  // namespace millrace
