// How much memory of a GPU torch's allocator holds.
#pragma once

#include <torch/types.h>

#include "metrics/memory.h"

namespace millrace {

// peak_bytes: most that was reserved since the last call. The device must be in use already.
MemoryUse device_memory_since_last_call(torch::Device device);

}  // namespace millrace
