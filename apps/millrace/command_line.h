// The one way in which commands read their arguments with CLI11.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace millrace {

// CLI11's parser. What its constructor and destructor bring along, all of CLI11, is compiled once, not with every
// command.
class ArgumentParser : public CLI::App {
 public:
  ArgumentParser(const std::string& description, const std::string& name);
  ~ArgumentParser() override;
};

// False when --help was asked for and printed. Throws ConfigError for arguments that do not fit.
bool parse_command_line(CLI::App& app, const std::vector<std::string>& args);

// The same for a command that takes options of the configuration beside its own: those, --section.key=value or
// --section.key VALUE, go into overrides.
bool parse_with_overrides(CLI::App& app, const std::vector<std::string>& args, std::vector<std::string>& overrides);

// The same arguments with "-" for "_" in the names of options: --num_workers means --num-workers.
std::vector<std::string> with_dashes(std::vector<std::string> args);

}  // namespace millrace
