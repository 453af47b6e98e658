// millrace sample: pictures or texts, whichever the task of the run makes.
#include <filesystem>
#include <string>

#include "base/error.h"
#include "checkpoint/run_weights.h"
#include "commands.h"
#include "sample_commands.h"
#include "tasks/task_table.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

// The configuration that the arguments name: that of a run's folder, or --config; "" where there is none.
fs::path named_config(const std::vector<std::string>& args) {
  const std::string option = "--config";
  for (size_t i = 0; i < args.size(); ++i) {
    if (args[i] == option && i + 1 < args.size()) return args[i + 1];
    if (args[i].starts_with(option + "=")) return args[i].substr(option.size() + 1);
    if (!args[i].starts_with("-") && is_run_folder(args[i])) return fs::path(args[i]) / "config.toml";
  }
  return "";
}

}  // namespace

int run_sample(const std::vector<std::string>& args) {
  // Before options are read, which are those of pictures where there is no run.
  if (!args.empty() && !args.front().starts_with("-") && !is_run_folder(args.front())) {
    throw ConfigError("[" + args.front() + "] expected a run's folder with config.toml, got none");
  }
  const fs::path config = named_config(args);
  const bool writes_texts =
      !config.empty() && fs::is_regular_file(config) && text_sampler_of_task(*load_task_config(config, {})) != nullptr;
  return writes_texts ? sample_texts(args) : sample_pictures(args);
}

}  // namespace millrace
