// What must hold between options; each on its own was checked when it was read.
#pragma once

#include <cstdint>

#include "config/problems.h"
#include "config/run_config.h"

namespace millrace {

void check_between_options(const RunConfig& config, Problems& problems);

}  // namespace millrace
