// LoRA on FLUX: a task like pretraining (tasks/flux/), whose configuration says that adapters are trained.
#pragma once

#include <memory>

#include "adapters/lora_options.h"
#include "config/run_config.h"

namespace millrace {

// The options of the task at their defaults.
std::unique_ptr<RunConfig> make_flux_lora_config();
// The adapters' options in a configuration of this task.
const LoraConfig* flux_lora_options(const RunConfig& config);

}  // namespace millrace
