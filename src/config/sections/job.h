// The run as a whole: its task and its folder.
#pragma once

#include <string>

#include "config/option.h"

namespace millrace {

struct JobConfig {
  std::string task;  // set by load_run_config
  std::string dump_folder = "./outputs";
  std::string description = "default job";
  bool print_config = false;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(task, {.name = "task",
                 .meaning = "what the run does (the tasks are listed by millrace train --help); empty: the first task "
                            "that trains model.name, or with a [lora] section its LoRA task"});
    visit(dump_folder,
          {.name = "dump_folder",
           .meaning = "folder of this run: config.toml, metrics.jsonl, log.txt, checkpoint/, samples/, ..."});
    visit(description, {.name = "description", .meaning = "what this run is, in your words; shown in the report"});
    visit(print_config, {.name = "print_config",
                         .meaning = "log the resolved configuration at the start",
                         .aliases = {"job.print_args"}});
  }
  bool operator==(const JobConfig&) const = default;
};

}  // namespace millrace
