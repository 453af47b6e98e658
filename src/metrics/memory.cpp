#include "metrics/memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace millrace {
namespace {

// "VmHWM:   1234 kB" of /proc/self/status.
uint64_t status_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  std::string name;
  uint64_t kilobytes = 0;
  while (status >> name) {
    if (name == key + ":" && status >> kilobytes) return kilobytes * 1024;
    std::getline(status, name);
  }
  return 0;
}

uint64_t machine_bytes() {
  const auto physical =
      static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  std::ifstream limit("/sys/fs/cgroup/memory.max");
  uint64_t bytes = 0;
  return limit >> bytes ? std::min(bytes, physical) : physical;  // "max" does not parse: no limit
}

}  // namespace

uint64_t available_memory() {
  std::ifstream information("/proc/meminfo");
  std::string name;
  uint64_t kilobytes = 0, available = machine_bytes();
  while (information >> name) {
    if (name == "MemAvailable:" && information >> kilobytes) available = kilobytes * 1024;
    std::getline(information, name);
  }
  // A group's own use includes files in the page cache, which make room.
  std::ifstream limit("/sys/fs/cgroup/memory.max"), use("/sys/fs/cgroup/memory.current"),
      parts("/sys/fs/cgroup/memory.stat");
  uint64_t most = 0, used = 0, cached = 0;
  if (!(limit >> most) || !(use >> used)) return available;
  while (parts >> name >> kilobytes) {
    if (name == "file") cached = kilobytes;
  }
  used -= std::min(used, cached);
  return std::min(available, most - std::min(most, used));
}

MemoryUse process_memory() {
  return {status_bytes("VmHWM"), status_bytes("VmRSS"), machine_bytes()};
}

}  // namespace millrace
