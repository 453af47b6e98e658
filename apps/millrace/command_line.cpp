#include "command_line.h"

#include <iostream>

#include "base/error.h"
#include "base/text.h"
#include "config/arguments.h"

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

bool parse_with_overrides(CLI::App& app, const std::vector<std::string>& args, std::vector<std::string>& overrides) {
  std::vector<std::string> own, others;
  for (size_t i = 0; i < args.size(); ++i) {
    const size_t equals = args[i].find('=');
    const bool is_long = starts_with(args[i], "--");
    const CLI::Option* option = is_long ? app.get_option_no_throw(args[i].substr(0, equals)) : nullptr;
    if (is_long && option == nullptr) {
      others.push_back(args[i]);
      if (equals == std::string::npos && i + 1 < args.size() && !starts_with(args[i + 1], "-")) {
        others.push_back(args[++i]);  // its value, or a word of the command's
      }
      continue;
    }
    own.push_back(args[i]);
    const bool wants_next = option != nullptr && equals == std::string::npos && option->get_items_expected_max() > 0;
    if (wants_next && i + 1 < args.size()) own.push_back(args[++i]);
  }
  const Arguments split = split_arguments(others);
  if (!split.others.empty()) {
    throw ConfigError("[" + split.others[0] + "] expected an option of this command (try " + app.get_name() +
                      " --help)");
  }
  // In front: an option that takes several values would take what stands behind it.
  own.insert(own.begin(), split.positional.begin(), split.positional.end());
  overrides = split.overrides;
  if (!split.config_file.empty()) overrides.push_back("--job.config_file=" + split.config_file);
  return parse_command_line(app, own);
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
