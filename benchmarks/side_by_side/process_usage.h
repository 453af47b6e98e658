// What this process has used so far.
#pragma once

#include <sys/resource.h>

#include <cstdint>

inline rusage process_usage() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage;
}

// User and system time of all threads.
inline double process_cpu_seconds() {
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  const rusage usage = process_usage();
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

inline int64_t process_peak_bytes() {
  return int64_t{1024} * process_usage().ru_maxrss;
}
