// What this process has used so far.
#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <fstream>
#include <string>

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

// Of this program alone: ru_maxrss would include the process that started it, which may have been larger.
inline int64_t process_peak_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    int64_t kib = 0;
    if (word == "VmHWM:" && status >> kib) return 1024 * kib;
  }
  return 0;
}
