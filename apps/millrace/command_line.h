// The one way in which commands read their arguments with CLI11.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <utility>
#include <vector>

namespace millrace {

// CLI11's parser. What its constructor and destructor bring along, all of CLI11, is compiled once, not with every
// command.
//
// `--name VALUE` and `--name=VALUE` are the same, a value is taken as it stands whatever it looks like, "_" in a name
// is the same as "-", and "--" ends the options.
class ArgumentParser : public CLI::App {
 public:
  ArgumentParser(const std::string& description, const std::string& name);
  ~ArgumentParser() override;

  // An option that may be given several times and takes one text each time; it may be empty. CLI11's own lists would
  // take every word that follows, and take "[a, b]" apart.
  CLI::Option* add_texts(const std::string& names, std::vector<std::string>& texts, const std::string& description);

  // How many words from args[i] on are an option of this command with its value: 0 when args[i] is none.
  size_t words_of_option(const std::vector<std::string>& args, size_t i) const;
  // The same arguments as CLI11 cannot misunderstand them. Throws ConfigError where a value is missing.
  std::vector<std::string> unambiguous(const std::vector<std::string>& args) const;
  void take_texts() const;  // after parsing

 private:
  const CLI::Option* find(const std::string& word) const;
  bool takes_any_text(const CLI::Option* option) const;

  std::vector<std::pair<CLI::Option*, std::vector<std::string>*>> texts_;
};

// False when --help was asked for and printed. Throws ConfigError for arguments that do not fit.
bool parse_command_line(ArgumentParser& app, const std::vector<std::string>& args);

// The same for a command that takes options of the configuration beside its own: those, --section.key=value or
// --section.key VALUE, go into overrides; --job.config_file too, unless config_file takes it.
bool parse_with_overrides(ArgumentParser& app, const std::vector<std::string>& args,
                          std::vector<std::string>& overrides, std::string* config_file = nullptr);

}  // namespace millrace
