// Memory used by this process.
#pragma once

#include <cstdint>

namespace millrace {

inline constexpr double kGiB = 1024.0 * 1024 * 1024;

struct MemoryUse {
  uint64_t peak_bytes = 0;   // largest resident set so far (VmHWM)
  uint64_t bytes = 0;        // resident now
  uint64_t total_bytes = 0;  // of the machine, or of the control group if smaller
};
MemoryUse process_memory();
// Bytes that could still be taken: of the machine, or of the control group if that has less.
uint64_t available_memory();

}  // namespace millrace
