// What `train`, `kohya` and `tune` do with a configuration.
#pragma once

#include "comm/world.h"
#include "config/run_config.h"

namespace millrace {

struct StartOptions {
  bool show_config = false;  // print it as TOML instead
  bool check = false;        // check it against the ranks instead
};
// Trains, or resumes, as one rank of world. Returns the exit status.
int start_run(const RunConfig& config, const World& world, const StartOptions& options);

}  // namespace millrace
