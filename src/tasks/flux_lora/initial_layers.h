// lora.ranks_from_initial_adapter: what the file that training starts from says about its adapters, as the other
// options of [lora].
#pragma once

#include <cstdint>

#include "config/run_config.h"

namespace millrace {

// Where the option is set, replaces it by those that it stands for: kind, targets, ranks and alphas, and whether CLIP
// is trained. A run that has a checkpoint has them in its config.toml, and needs the file no more. Configurations of
// other tasks, and without the option, stay as they are. Throws ModelError, naming the file and a tensor, for adapters
// of layers that the model does not have, or of several kinds; ConfigError for adapters of an encoder that is not
// trained.
void settle_flux_lora_config(RunConfig& config, int64_t world_size);

}  // namespace millrace
