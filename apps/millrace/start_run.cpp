#include "start_run.h"

#include <iostream>

#include "base/log.h"
#include "tasks/task_table.h"
#include "version.h"

namespace millrace {

int start_run(const RunConfig& config, const World& world, const StartOptions& options) {
  // A configuration for a cluster can also be shown on a laptop.
  if (!options.show_config || options.check) check_ranks(config, world.size);
  if (options.show_config && world.rank == 0) std::cout << to_toml(config);
  if (options.show_config || options.check) return 0;
  require_trainable(config);
  if (world.rank > 0) set_console_log_level(LogLevel::kWarning);
  if (config.job.print_config && world.rank == 0) log_info("configuration:\n", to_toml(config));
  run_task(config, world, build_for_peers(world.size));
  return 0;
}

}  // namespace millrace
