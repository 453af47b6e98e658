// millrace train CONFIG.toml [--section.key=value ...]
#include <iostream>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "comm/world.h"
#include "commands.h"
#include "config/arguments.h"
#include "config/help.h"
#include "config/run_config.h"
#include "start_run.h"
#include "tasks/task_table.h"

namespace millrace {
namespace {

constexpr const char* kUsage =
    "usage: millrace train CONFIG.toml [--section.key=value ...]\n\n"
    "Trains according to CONFIG.toml, or resumes from the newest checkpoint in job.dump_folder.\n"
    "The command line overrides the file, the file overrides the defaults; of repeated options the last one counts.\n\n"
    "  --section.key=value   set an option; `--section.key value` is the same, and - is the same as _\n"
    "  --section.flag        set a flag to true; --section.no_flag or --section.flag=false to false\n"
    "  --section.list=a,b    or as in TOML: --section.list='[\"a\", \"b, c\"]'\n"
    "  --section.key=None    for options that may be None; --section.key= for an empty text\n"
    "  --job.config_file F   the same as CONFIG.toml\n"
    "  --show-config         print the resolved configuration as TOML, and stop\n"
    "  --check               check it against the ranks that the environment describes (srun, torchrun), and stop\n"
    "  --help[=SECTION]      this text, or one section of it; --help=markdown, --help=markdown:TASK: as in docs/\n";

struct TrainArguments {
  std::string config_file;
  std::vector<std::string> overrides;
  bool show_config = false, check = false;
  bool help = false;
  std::string help_section;
};

TrainArguments read_train_arguments(const std::vector<std::string>& args) {
  const Arguments split = split_arguments(task_kinds(), args);
  TrainArguments result{.config_file = split.config_file, .overrides = split.overrides};
  for (const std::string& flag : split.others) {
    if (flag == "--help" || flag == "-h" || starts_with(flag, "--help=")) {
      result.help = true;
      if (starts_with(flag, "--help=")) result.help_section = flag.substr(7);
    } else if (flag == "--show-config" || flag == "--show_config") {
      result.show_config = true;
    } else if (flag == "--check") {
      result.check = true;
    } else {
      throw ConfigError("[" + flag + "] expected --section.key=value, --show-config, --check or --help");
    }
  }
  for (const std::string& file : split.positional) {
    if (!result.config_file.empty()) {
      throw ConfigError("[" + file + "] expected one configuration file, got " + result.config_file + " as well");
    }
    result.config_file = file;
  }
  return result;
}

void print_help(const std::string& section) {
  if (section == "markdown") {
    std::cout << options_markdown();
    return;
  }
  for (const TaskKind& task : task_kinds()) {
    if (section != str("markdown:", task.name)) continue;
    std::cout << options_markdown(task);
    return;
  }
  if (section.empty()) std::cout << kUsage << "\n";
  std::cout << options_help(task_kinds(), section);
}

}  // namespace

int run_train(const std::vector<std::string>& args) {
  const TrainArguments arguments = read_train_arguments(args);
  if (arguments.help) {
    print_help(arguments.help_section);
    return 0;
  }
  if (arguments.config_file.empty() && !arguments.show_config) {
    throw ConfigError("[millrace train] expected a configuration file, got none (try millrace train --help)");
  }
  const World world = detect_world();
  // Messages that are the same on all ranks come from the first only.
  if (world.rank > 0) set_console_log_level(LogLevel::kError);
  const std::unique_ptr<RunConfig> loaded = load_task_config(arguments.config_file, arguments.overrides);
  return start_run(*loaded, world, {.show_config = arguments.show_config, .check = arguments.check});
}

}  // namespace millrace
