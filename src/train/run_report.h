// The run's report.html, updated while it trains.
#pragma once

#include <torch/types.h>

#include "config/run_config.h"

namespace millrace {

// On the first rank. Does nothing without report.enable; a page that cannot be written is a warning, not an error.
void update_report(const RunConfig& config, torch::Device device, int ranks, bool finished);

}  // namespace millrace
