// --step, as the commands have it that take a run's checkpoint.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "checkpoint/best_checkpoint.h"
#include "command_line.h"

namespace millrace {

// A number, -1 for the newest, or "best" for the one that checkpoint.keep_best keeps (kBestStep).
inline void add_step_option(ArgumentParser& app, int64_t& step) {
  const std::map<std::string, int64_t> by_name = {{"best", kBestStep}};
  app.add_option("--step", step,
                 "The run's checkpoint to use; -1: the newest, best: the one that checkpoint.keep_best keeps")
      ->transform(CLI::Transformer(by_name).description(""))
      ->capture_default_str();
}

}  // namespace millrace
