// The seed of a run whose configuration asks for a random one.
#pragma once

#include <cstdint>

#include "comm/communicator.h"
#include "config/run_config.h"

namespace millrace {

// That of the checkpoint that the run resumes from; in a new run a number of 32 bits from the system. The same on all
// ranks, which call it together. Throws as look_into_checkpoint() does.
int64_t drawn_seed(const RunConfig& config, Communicator& ranks);

}  // namespace millrace
