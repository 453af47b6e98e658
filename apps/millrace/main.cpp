// The program: finds the command, runs it, turns exceptions into one message and an exit status.
#include <cerrno>
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
#include "version.h"

namespace millrace {
namespace {

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
  return find_command(first).run({args.begin() + 1, args.end()});
}

// Output that could not be written is a failure: nobody may take half a result for the whole.
void flush_output() {
  std::cout.flush();
  if (std::cout.fail() || std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    throw StorageError(std::string("[standard output] expected to write everything, got: ") + std::strerror(errno));
  }
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  try {
    const int status = millrace::run({argv + 1, argv + argc});
    millrace::flush_output();
    return status;
  } catch (const std::exception& error) {
    return millrace::report_failure(error);
  }
}
