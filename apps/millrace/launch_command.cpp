// millrace launch: N ranks on this machine.
#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "command_line.h"
#include "commands.h"
#include "local_ranks.h"

namespace millrace {
namespace {

// The options end at the first word that is not one: the rest belongs to the command.
size_t first_of_command(const std::vector<std::string>& args) {
  size_t i = 0;
  while (i < args.size() && args[i].size() > 1 && args[i][0] == '-') {
    if (args[i] == "--") return i;
    const bool has_value = args[i] == "-n" || args[i] == "--ranks";
    i += has_value ? 2 : 1;
  }
  return std::min(i, args.size());
}

bool is_own_command(const std::string& name) {
  for (const Command& command : commands()) {
    if (name == command.name) return true;
  }
  return false;
}

}  // namespace

int run_launch(const std::vector<std::string>& args) {
  const size_t split = first_of_command(args);
  ArgumentParser app{
      "Runs COMMAND as N ranks on this machine: `millrace launch -n 2 train CONFIG.toml`. A command of millrace needs "
      "no\n"
      "program name before it. Lines of all ranks but the first begin with [rank N]; when one rank fails, the others "
      "get\n"
      "10 s to exit. Under srun or torchrun launch is not needed.",
      "millrace launch"};
  app.footer("COMMAND...  what every rank runs (put -- before it when it begins with a dash)");
  int ranks = 0;
  app.add_option("-n,--ranks", ranks, "number of ranks")->required()->check(CLI::Range(1, 1024));
  if (!parse_command_line(app, {args.begin(), args.begin() + static_cast<ptrdiff_t>(split)})) {
    return static_cast<int>(ExitCode::kDone);
  }
  std::vector<std::string> command(args.begin() + static_cast<ptrdiff_t>(split), args.end());
  if (!command.empty() && command.front() == "--") command.erase(command.begin());
  if (command.empty())
    throw ConfigError("[millrace launch] expected a command after -n N (try millrace launch --help)");
  if (is_own_command(command.front()))
    command.insert(command.begin(), std::filesystem::read_symlink("/proc/self/exe").string());
  return run_local_ranks(ranks, command);
}

}  // namespace millrace
