#include "translated_run.h"

#include <iostream>

#include "base/error.h"
#include "base/log.h"
#include "tasks/task_table.h"

namespace millrace {

std::unique_ptr<RunConfig> load_translated(const Translation& translation, const std::string& their_program,
                                           const World& world, const std::vector<std::string>& own_options) {
  if (world.rank > 0) set_console_log_level(LogLevel::kError);
  std::unique_ptr<RunConfig> config;
  try {
    std::vector<std::string> options = translation.overrides();
    options.insert(options.end(), own_options.begin(), own_options.end());
    config = load_task_config("", options);
  } catch (const ConfigError& error) {
    throw ConfigError(translation.in_their_words(error.what()));
  }
  if (world.rank > 0) return config;
  std::cerr << translation.table(their_program) << std::flush;
  for (const std::string& warning : translation.warnings()) log_warning(warning);
  return config;
}

}  // namespace millrace
