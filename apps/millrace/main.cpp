// The program: finds the command, runs it, turns exceptions into one message and an exit status.
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "commands.h"
#include "failure.h"
#include "help_text.h"
#include "process.h"
#include "version.h"

namespace millrace {
namespace {

bool works_on_without_reader = false;

const Command& find_command(const std::string& name) {
  std::vector<std::string> names;
  for (const Command& command : commands()) {
    if (name == command.name) return command;
    names.emplace_back(command.name);
  }
  const std::string suggestion = nearest(name, names);
  throw ConfigError("[millrace " + name + "] expected one of " + join(names, ", ") +
                    (suggestion.empty() ? "" : " (try millrace " + suggestion + ")"));
}

int run(const std::vector<std::string>& args) {
  if (args.empty()) {
    std::cerr << program_help();
    return static_cast<int>(ExitCode::kConfig);
  }
  const std::string& first = args.front();
  if (first == "--help" || first == "-h" || (first == "help" && args.size() == 1)) {
    std::cout << program_help();
    return 0;
  }
  if (first == "--version") {
    std::cout << "millrace " << program_version() << "\n";
    return 0;
  }
  if (first == "help") return find_command(args[1]).run({"--help"});
  const Command& command = find_command(first);
  works_on_without_reader = command.without_reader == WithoutReader::kWorksOn;
  std::signal(SIGPIPE, works_on_without_reader ? SIG_IGN : SIG_DFL);
  return command.run({args.begin() + 1, args.end()});
}

// Output that could not be written is a failure: a partial result must not look complete. A reader that has left does
// not matter.
void flush_output() {
  std::cout.flush();
  const bool failed = std::cout.fail() || std::fflush(stdout) != 0 || std::ferror(stdout) != 0;
  const int error = errno;
  if (!failed || (works_on_without_reader && has_no_reader(STDOUT_FILENO))) return;
  throw StorageError(std::string("[standard output] expected to write everything, got: ") + std::strerror(error));
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  millrace::prepare_process();
  try {
    const int status = millrace::run({argv + 1, argv + argc});
    millrace::flush_output();
    millrace::leave(status);
  } catch (const std::exception& error) {
    millrace::leave(millrace::report_failure(error));
  }
}
