// The schema as text: for a terminal and for the pages about the configuration in docs/.
#pragma once

#include <string>

#include "config/task_kind.h"

namespace millrace {

// Every option with type, unit, default and meaning, grouped by section, those of every task first; or one section.
// Throws ConfigError naming the nearest section when there is no such one.
std::string options_help(TaskKinds tasks, const std::string& section = "");

// As Markdown tables: what every task has, and torchtitan's options that millrace only accepts.
std::string options_markdown();
// The same of what a task adds.
std::string options_markdown(const TaskKind& task);

}  // namespace millrace
