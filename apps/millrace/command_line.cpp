#include "command_line.h"

#include <iostream>

#include "base/error.h"
#include "base/text.h"

namespace millrace {

ArgumentParser::ArgumentParser(const std::string& description, const std::string& name) : CLI::App(description, name) {}
ArgumentParser::~ArgumentParser() = default;

bool parse_command_line(CLI::App& app, const std::vector<std::string>& args) {
  for (const std::string& arg : args) {
    if (!starts_with(arg, "--") || arg.back() != '=') continue;
    const std::string name = arg.substr(0, arg.size() - 1);
    // CLI11 would take the next word for the value.
    if (app.get_option_no_throw(name)) throw ConfigError("[" + name + "] expected a value, got nothing");
  }
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

std::vector<std::string> with_dashes(std::vector<std::string> args) {
  for (std::string& arg : args) {
    if (!starts_with(arg, "--")) continue;
    for (char& c : arg) {
      if (c == '=') break;
      if (c == '_') c = '-';
    }
  }
  return args;
}

}  // namespace millrace
