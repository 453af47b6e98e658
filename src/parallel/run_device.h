// Which device a rank trains on.
#pragma once

#include <torch/types.h>

#include <string>

#include "comm/world.h"

namespace millrace {

// training.device for this rank: on a machine with several GPUs, the one of its local rank, which becomes current. A
// rank that sees one GPU (bound by a scheduler) uses that. Throws ConfigError when there are fewer GPUs than ranks.
torch::Device device_of_rank(const std::string& wanted, const World& world);

}  // namespace millrace
