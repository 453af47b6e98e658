// GPU memory held by torch's allocator.
#pragma once

#include <torch/types.h>

#include "metrics/memory.h"

namespace millrace {

// peak_bytes: the most reserved since the last call. The device must already be in use.
MemoryUse device_memory_since_last_call(torch::Device device);

}  // namespace millrace
