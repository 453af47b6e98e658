// Monotonic time for measuring, wall time for stamping.
#pragma once

#include <chrono>
#include <cstdint>

namespace millrace {

// Seconds since an arbitrary start; never goes back.
inline double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Milliseconds since 1970, UTC.
inline int64_t unix_milliseconds() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace millrace
