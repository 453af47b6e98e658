// The one way in which commands read their arguments with CLI11.
#pragma once

#include <CLI/CLI.hpp>
#include <iostream>
#include <string>
#include <vector>

#include "base/error.h"

namespace millrace {

// False when --help was asked for and printed. Throws ConfigError for arguments that do not fit.
inline bool parse_command_line(CLI::App& app, const std::vector<std::string>& args) {
  std::vector<std::string> reversed(args.rbegin(), args.rend());  // the order CLI11 wants
  try {
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    std::cout << app.help();
    return false;
  } catch (const CLI::ParseError& error) {
    throw ConfigError("[" + app.get_name() + "] " + error.what() + " (try " + app.get_name() + " --help)");
  }
  return true;
}

}  // namespace millrace
