#include "command_line.h"

#include <algorithm>
#include <iostream>

#include "base/error.h"
#include "base/text.h"
#include "config/arguments.h"
#include "config/schema.h"
#include "tasks/task_table.h"

namespace millrace {
namespace {

bool is_long(const std::string& word) {
  return word.size() > 2 && starts_with(word, "--");
}
bool is_short(const std::string& word) {
  return word.size() > 1 && word[0] == '-' && word[1] != '-';
}

// "--name" of "--name=value", "-n" of "-nvalue".
std::string name_in(const std::string& word) {
  return is_long(word) ? word.substr(0, word.find('=')) : word.substr(0, 2);
}

bool has_value_attached(const std::string& word) {
  return is_long(word) ? word.find('=') != std::string::npos : word.size() > 2;
}

}  // namespace

ArgumentParser::ArgumentParser(const std::string& description, const std::string& name) : CLI::App(description, name) {}
ArgumentParser::~ArgumentParser() = default;

CLI::Option* ArgumentParser::add_texts(const std::string& names, std::vector<std::string>& texts,
                                       const std::string& description) {
  CLI::Option* option = add_option(names, CLI::callback_t(), description)->type_name("TEXT");
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  texts_.emplace_back(option, &texts);
  return option;
}

void ArgumentParser::take_texts() const {
  for (const auto& [option, texts] : texts_) *texts = option->results();
}

const CLI::Option* ArgumentParser::find(const std::string& word) const {
  if (!is_long(word) && !is_short(word)) return nullptr;
  const std::string name = name_in(word);
  for (const CLI::Option* option : get_options()) {
    const auto is_this = [&](const std::string& known) {
      return is_long(word) ? with_underscores("--" + known) == with_underscores(name) : "-" + known == name;
    };
    const std::vector<std::string>& names = is_long(word) ? option->get_lnames() : option->get_snames();
    if (std::any_of(names.begin(), names.end(), is_this)) return option;
  }
  return nullptr;
}

bool ArgumentParser::takes_any_text(const CLI::Option* option) const {
  return std::any_of(texts_.begin(), texts_.end(), [&](const auto& entry) { return entry.first == option; });
}

size_t ArgumentParser::words_of_option(const std::vector<std::string>& args, size_t i) const {
  const CLI::Option* option = find(args[i]);
  if (option == nullptr) return 0;
  const bool has_next = i + 1 < args.size();
  return option->get_items_expected_min() > 0 && !has_value_attached(args[i]) && has_next ? 2 : 1;
}

std::vector<std::string> ArgumentParser::unambiguous(const std::vector<std::string>& args) const {
  std::vector<std::string> words;
  for (size_t i = 0; i < args.size(); ++i) {
    const CLI::Option* option = find(args[i]);
    if (args[i] == "--" || option == nullptr) {
      // After "--", or left to CLI11, which reports an unknown word or takes it as a positional argument.
      const size_t count = args[i] == "--" ? args.size() - i : 1;
      words.insert(words.end(), args.begin() + static_cast<ptrdiff_t>(i),
                   args.begin() + static_cast<ptrdiff_t>(i + count));
      i += count - 1;
      continue;
    }
    const std::string shown = name_in(args[i]);
    const std::string name =
        is_long(args[i]) ? "--" + *std::find_if(option->get_lnames().begin(), option->get_lnames().end(),
                                                [&](const std::string& known) {
                                                  return with_underscores("--" + known) == with_underscores(shown);
                                                })
                         : shown;
    const bool attached = has_value_attached(args[i]);
    std::string value = attached ? args[i].substr(shown.size() + (is_long(args[i]) ? 1 : 0)) : "";
    if (attached && value.empty() && !takes_any_text(option)) {
      throw ConfigError("[" + shown + "] expected a value, got nothing");
    }
    if (option->get_items_expected_min() == 0) {  // a flag, or an optional value
      words.push_back(attached && is_long(args[i]) ? name + "=" + value : attached ? args[i] : name);
      continue;
    }
    if (!attached) {
      if (i + 1 == args.size() || args[i + 1] == "--") {
        throw ConfigError("[" + shown + "] expected a value, got nothing");
      }
      value = args[++i];
      if ((is_long(value) || value.size() == 2) && find(value) != nullptr) {
        throw ConfigError("[" + shown + "] expected a value, got the option " + value + " (try " + shown + "=" + value +
                          ", if that is the value)");
      }
      if (value.empty() && !takes_any_text(option)) throw ConfigError("[" + shown + "] expected a value, got nothing");
    }
    words.insert(words.end(), {name, value});
  }
  return words;
}

std::string ArgumentParser::unknown_words(std::vector<std::string> others) const {
  const std::vector<std::string> words = remaining(/*recurse=*/true);
  std::vector<std::string> names = std::move(others);
  for (const CLI::Option* option : get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  std::string near;
  for (const std::string& word : words) {
    if (near.empty() && is_long(word)) near = nearest(name_in(word), names);
  }
  return "[" + get_name() + "] expected an option or argument of this command, got " + join(words, " ") + " (try " +
         (near.empty() ? get_name() + " --help" : near) + ")";
}

bool parse_command_line(ArgumentParser& app, const std::vector<std::string>& args,
                        const std::vector<std::string>& read_before) {
  std::vector<std::string> words = app.unambiguous(args);
  std::reverse(words.begin(), words.end());  // the order CLI11 wants
  try {
    app.parse(words);
  } catch (const CLI::CallForHelp&) {
    std::cout << app.help();
    return false;
  } catch (const CLI::ExtrasError&) {
    throw ConfigError(app.unknown_words(read_before));
  } catch (const CLI::ParseError& error) {
    throw ConfigError("[" + app.get_name() + "] " + error.what() + " (try " + app.get_name() + " --help)");
  }
  app.take_texts();
  return true;
}

bool parse_with_overrides(ArgumentParser& app, const std::vector<std::string>& args,
                          std::vector<std::string>& overrides, std::string* config_file) {
  const Arguments split = split_arguments(task_kinds(), args, [&](size_t i) { return app.words_of_option(args, i); });
  if (!split.others.empty()) {
    throw ConfigError("[" + split.others[0] + "] expected an option of this command (try " + app.get_name() +
                      " --help)");
  }
  std::vector<std::string> own = split.own;
  own.emplace_back("--");
  own.insert(own.end(), split.positional.begin(), split.positional.end());
  overrides = split.overrides;
  if (config_file != nullptr) {
    *config_file = split.config_file;
  } else if (!split.config_file.empty()) {
    overrides.push_back("--job.config_file=" + split.config_file);
  }
  return parse_command_line(app, own);
}

}  // namespace millrace
