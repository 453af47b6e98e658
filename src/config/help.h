// The schema as text: for a terminal and for the configuration pages in docs/.
#pragma once

#include <string>

#include "config/task_kind.h"

namespace millrace {

// Every option with type, unit, default and meaning, grouped by section, those of every task first; or one section.
// Throws ConfigError naming the nearest section if the section does not exist.
std::string options_help(TaskKinds tasks, const std::string& section = "");

// As Markdown tables: the options of every task, and torchtitan's options that millrace accepts but ignores.
std::string options_markdown();
// The same for the options that a task adds.
std::string options_markdown(const TaskKind& task);

}  // namespace millrace
