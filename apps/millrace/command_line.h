// How commands read their arguments with CLI11.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <utility>
#include <vector>

namespace millrace {

// CLI11's parser. Its constructor and destructor, which instantiate all of CLI11, are compiled once, not with every
// command.
//
// `--name VALUE` and `--name=VALUE` are the same, a value is taken literally whatever it looks like, "_" in a name
// is the same as "-", and "--" ends the options.
class ArgumentParser : public CLI::App {
 public:
  ArgumentParser(const std::string& description, const std::string& name);
  ~ArgumentParser() override;

  // An option that may be given several times and takes one text each time; it may be empty. CLI11's own lists would
  // consume every following word, and split "[a, b]".
  CLI::Option* add_texts(const std::string& names, std::vector<std::string>& texts, const std::string& description);

  // How many words from args[i] on are an option of this command with its value; 0 if args[i] is not one.
  size_t words_of_option(const std::vector<std::string>& args, size_t i) const;
  // The same arguments in a form that CLI11 cannot misread. Throws ConfigError if a value is missing.
  std::vector<std::string> unambiguous(const std::vector<std::string>& args) const;
  void take_texts() const;  // after parsing
  // The message about words that parsing left over, with the nearest option: one of this command or of others.
  std::string unknown_words(std::vector<std::string> others) const;

 private:
  const CLI::Option* find(const std::string& word) const;
  bool takes_any_text(const CLI::Option* option) const;

  std::vector<std::pair<CLI::Option*, std::vector<std::string>*>> texts_;
};

// False if --help was given and printed. Throws ConfigError for invalid arguments. read_before: names of options that
// args no longer have, for the message about unknown ones.
bool parse_command_line(ArgumentParser& app, const std::vector<std::string>& args,
                        const std::vector<std::string>& read_before = {});

// The same for a command that also takes options of the configuration: those, --section.key=value or
// --section.key VALUE, go into overrides; --job.config_file too, unless config_file takes it.
bool parse_with_overrides(ArgumentParser& app, const std::vector<std::string>& args,
                          std::vector<std::string>& overrides, std::string* config_file = nullptr);

}  // namespace millrace
