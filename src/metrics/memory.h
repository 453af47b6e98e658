// How much memory this process has taken.
#pragma once

#include <cstdint>

namespace millrace {

inline constexpr double kGiB = 1024.0 * 1024 * 1024;

struct MemoryUse {
  uint64_t peak_bytes = 0;   // largest resident set so far (VmHWM)
  uint64_t bytes = 0;        // resident now
  uint64_t total_bytes = 0;  // of the machine, or of the control group when that is smaller
};
MemoryUse process_memory();

}  // namespace millrace
