// What this process has used so far.
#pragma once

#include <sys/resource.h>

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
