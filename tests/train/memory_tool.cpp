// Trains as CONFIG says and writes the most memory that its tensors had in use at once:
//   millrace_memory_tool OUTPUT CONFIG.toml [--section.key=value ...]
// OUTPUT gets ".<rank>" behind its name and holds bytes, a decimal number.
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "comm/world.h"
#include "config/run_config.h"
#include "nn/cpu_allocator.h"
#include "tasks/task_table.h"

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: millrace_memory_tool OUTPUT CONFIG.toml [--section.key=value ...]\n");
    return 2;
  }
  try {
    const std::vector<std::string> overrides(argv + 3, argv + argc);
    const millrace::World world = millrace::detect_world();
    millrace::run_task(*millrace::load_task_config(argv[2], overrides), world, "memory tool");
    std::ofstream(std::string(argv[1]) + "." + std::to_string(world.rank))
        << millrace::cpu_allocator_stats().peak_bytes_in_use << "\n";
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
