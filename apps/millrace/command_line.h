// The one way in which commands read their arguments with CLI11.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace millrace {

// False when --help was asked for and printed. Throws ConfigError for arguments that do not fit.
bool parse_command_line(CLI::App& app, const std::vector<std::string>& args);

// The same arguments with "-" for "_" in the names of options: --num_workers means --num-workers.
std::vector<std::string> with_dashes(std::vector<std::string> args);

}  // namespace millrace
