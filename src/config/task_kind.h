// The tasks as the configuration loader sees them: their names, and where the options of each are described.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "config/run_config.h"
#include "config/schema.h"

namespace millrace {

struct TaskKind {
  const char* name;                             // job.task
  const char* model;                            // the model.name that it trains
  const char* summary;                          // one line for --help
  bool is_lora;                                 // chosen by a [lora] section
  std::unique_ptr<RunConfig> (*make_config)();  // its options, all at their defaults
};
using TaskKinds = std::span<const TaskKind>;

// The settings of a file and a command line that choose the task, collected before any option is read; "" where not
// given.
struct TaskHints {
  std::string task, task_place;
  std::string model;
  bool has_lora_section = false;
};
// Throws ConfigError for an unknown job.task. A model that no task trains is left to the check of model.name.
const TaskKind& choose_task(TaskKinds tasks, const TaskHints& hints);

// A task's options at their defaults, and a schema to look up their names.
struct TaskSchema {
  explicit TaskSchema(const TaskKind& task);

  const TaskKind& kind;
  std::unique_ptr<RunConfig> config;
  Schema schema;  // points into config
};

// ", which is an option of the task X (try --job.task=X)" for an option that another task has; "" for others.
std::string owner_of_option(TaskKinds tasks, const TaskKind& chosen, const std::string& name);
std::string owner_of_section(TaskKinds tasks, const TaskKind& chosen, const std::string& section);

}  // namespace millrace
