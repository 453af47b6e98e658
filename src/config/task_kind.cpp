#include "config/task_kind.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

std::string belongs_to(const TaskKind& task) {
  return str(", which belongs to the task ", task.name, " (try job.task = \"", task.name, "\")");
}

}  // namespace

TaskSchema::TaskSchema(const TaskKind& task) : kind(task), config(task.make_config()), schema(*config) {}

const TaskKind& choose_task(TaskKinds tasks, const TaskHints& hints) {
  MILLRACE_CHECK(!tasks.empty());
  if (!hints.task.empty()) {
    std::vector<std::string> names;
    for (const TaskKind& task : tasks) {
      if (hints.task == task.name) return task;
      names.emplace_back(task.name);
    }
    const std::string suggestion = nearest(hints.task, names);
    throw ConfigError(str("[", hints.task_place, "] job.task: expected one of ", join(names, ", "), ", got \"",
                          hints.task, "\"", suggestion.empty() ? "" : " (try \"" + suggestion + "\")"));
  }
  const auto fits = [&](const TaskKind& task) { return hints.model.empty() || hints.model == task.model; };
  if (hints.has_lora_section) {
    const auto lora = std::find_if(tasks.begin(), tasks.end(), [&](const TaskKind& t) { return t.is_lora && fits(t); });
    if (lora != tasks.end()) return *lora;
  }
  const auto found = std::find_if(tasks.begin(), tasks.end(), [&](const TaskKind& t) { return !t.is_lora && fits(t); });
  return found == tasks.end() ? tasks.front() : *found;
}

std::string owner_of_option(TaskKinds tasks, const TaskKind& chosen, const std::string& name) {
  for (const TaskKind& task : tasks) {
    if (&task == &chosen) continue;
    if (TaskSchema(task).schema.find(name, /*allow_negation=*/true).option != nullptr) return belongs_to(task);
  }
  return "";
}

std::string owner_of_section(TaskKinds tasks, const TaskKind& chosen, const std::string& section) {
  for (const TaskKind& task : tasks) {
    if (&task != &chosen && TaskSchema(task).schema.has_section(section)) return belongs_to(task);
  }
  return "";
}

}  // namespace millrace
