#include "tasks/task_table.h"

#include <array>

#include "base/error.h"
#include "base/text.h"
#include "nn/cpu_allocator.h"
#include "tasks/flux_pretrain/flux_pretrain_task.h"
#include "train/trainer.h"

namespace millrace {
namespace {

struct TaskEntry {
  const char* model;  // config.model.name
  std::unique_ptr<Task> (*make)(const RunConfig& config);
};

constexpr std::array kTasks = std::to_array<TaskEntry>({
    {"flux", make_flux_pretrain_task},
});

}  // namespace

void run_task(const RunConfig& config) {
  install_caching_cpu_allocator();
  std::vector<std::string> names;
  for (const TaskEntry& entry : kTasks) {
    if (config.model.name == entry.model) {
      const std::unique_ptr<Task> task = entry.make(config);
      train(*task, config);
      return;
    }
    names.emplace_back(entry.model);
  }
  throw ConfigError("[model.name] expected " + join(names, " or ") + ", got '" + config.model.name + "'");
}

}  // namespace millrace
