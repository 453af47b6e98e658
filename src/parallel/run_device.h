// Which device a rank trains on.
#pragma once

#include <torch/types.h>

#include <string>

#include "comm/world.h"

namespace millrace {

// training.device for this rank: of several GPUs of a machine, that of its local rank, which becomes the current one. A
// rank that sees one GPU (as schedulers bind them) takes that. Throws ConfigError when there are fewer GPUs than ranks.
torch::Device device_of_rank(const std::string& wanted, const World& world);

}  // namespace millrace
