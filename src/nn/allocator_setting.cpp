#include "nn/allocator_setting.h"

#include <cstdlib>

namespace millrace {

void prefer_growing_memory(const char* variable) {
  if (std::getenv("PYTORCH_ALLOC_CONF") != nullptr) return;
  ::setenv(variable, "expandable_segments:True", /*overwrite=*/0);
}

}  // namespace millrace
