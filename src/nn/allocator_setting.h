// What libtorch's allocator of GPU memory is told by an environment variable, which it reads when it is loaded.
#pragma once

namespace millrace {

// Asks for blocks of memory that grow, so that a run near the GPU's limit is not ended by fragmentation, unless the
// user has set the variable, or PYTORCH_ALLOC_CONF, its newer name, which libtorch reads only where the older one is
// missing.
void prefer_growing_memory(const char* variable);

}  // namespace millrace
