// Start-up shared by all commands that run on the ranks a configuration describes.
#pragma once

#include <torch/types.h>

#include <functional>
#include <string>

#include "comm/communicator.h"
#include "config/run_config.h"

namespace millrace {

// Connects the ranks as the configuration says and runs `work` on each, with this rank's device (see run_as_rank.h).
void with_ranks(const RunConfig& config, const World& world, const std::string& version,
                const std::function<void(Communicator& ranks, torch::Device device)>& work);

}  // namespace millrace
