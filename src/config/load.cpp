// File and command line into a RunConfig. Every problem is collected before anything is thrown.
#include <map>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "config/arguments.h"
#include "config/run_config.h"
#include "config/schema.h"
#include "config/task_kind.h"
#include "config/toml_file.h"

namespace millrace {
namespace {

// One argument of the command line: "--section.key=value", or "--section.flag" without a value.
struct Override {
  std::string argument, place, name;  // place: "--section.key" as written
  std::optional<std::string> value;
};

Override parse_override(const std::string& argument) {
  const size_t equals = argument.find('=');
  Override result{argument, argument.substr(0, equals), "", std::nullopt};
  result.name = with_underscores(result.place.substr(std::min<size_t>(2, result.place.size())));
  if (equals != std::string::npos) result.value = argument.substr(equals + 1);
  return result;
}

// The command line overrides the file.
TaskHints find_hints(const std::string& file_name, const std::vector<TomlSection>& sections,
                     const std::vector<Override>& overrides) {
  TaskHints hints;
  for (const TomlSection& section : sections) {
    const std::string name = with_underscores(section.name);
    if (name == "lora" && section.is_table) hints.has_lora_section = true;
    for (const TomlEntry& entry : section.entries) {
      if (entry.value.kind != TomlValue::Kind::kText) continue;
      if (name == "job" && entry.key == "task") {
        hints.task = entry.value.text;
        hints.task_place = str(file_name, ":", entry.value_place.line, ":", entry.value_place.column);
      }
      if (name == "model" && entry.key == "name") hints.model = entry.value.text;
    }
  }
  for (const Override& given : overrides) {
    if (given.name.starts_with("lora.")) hints.has_lora_section = true;
    if (given.name == "job.task") {
      hints.task = given.value.value_or("");
      hints.task_place = given.place;
    }
    if (given.name == "model.name") hints.model = given.value.value_or("");
  }
  return hints;
}

class Loader {
 public:
  Loader(TaskKinds tasks, const TaskKind& task, const std::string& file_name)
      : tasks_(tasks), task_(task), config_(*task_.config), schema_(task_.schema), file_name_(file_name) {}

  void read_file(const std::vector<TomlSection>& sections) {
    for (const TomlSection& section : sections) read_section(section);
  }

  void read_override(const Override& given) {
    const std::string& place = given.place;
    const OptionTarget target = schema_.find(given.name, true);
    if (!starts_with(place, "--") || !target.is_known()) {
      const std::string owner = owner_of_option(tasks_, task_.kind, given.name);
      const std::string suggestion = owner.empty() ? schema_.suggest_option(given.name, "--") : "";
      problems_.add(place, owner.empty()
                               ? "expected a known option" + (suggestion.empty() ? "" : " (try " + suggestion + ")")
                               : expected_own() + ", got " + given.name + owner);
      return;
    }
    TomlValue value{.kind = TomlValue::Kind::kBool, .boolean = !target.negated};
    if (given.value) {
      if (target.negated) {
        problems_.add(place, "expected no value after a no_ option");
        return;
      }
      try {
        value = target.option ? value_from_text(*target.option, *given.value, place)
                              : value_from_text(*target.foreign, *given.value, place);
      } catch (const ConfigError& error) {
        problems_.add_line(error.what());
        return;
      }
    } else if (!target.may_stand_alone()) {
      problems_.add(place, "expected a value, got nothing (try " + place + "=VALUE)");
      return;
    }
    set_option(target, value, place, given.name);
  }

  std::unique_ptr<RunConfig> finish() {
    config_.job.task = task_.kind.name;
    config_.apply(given_);
    for (const auto& [name, refusal] : refused_) problems_.add_line(refusal);
    if (problems_.empty()) config_.check(problems_);
    if (!problems_.empty() && !file_name_.empty()) {
      problems_.add_line("(options and their defaults: millrace train --help)");
    }
    problems_.throw_if_any();
    for (const auto& [name, warning] : warnings_) log_warning(warning);
    return std::move(task_.config);
  }

 private:
  std::string expected_own() const { return str("expected an option of the task ", task_.kind.name); }
  std::string place(const TomlPlace& at) const { return str(file_name_, ":", at.line, ":", at.column); }

  void read_section(const TomlSection& section) {
    const std::string name = with_underscores(section.name);
    if (!section.is_table) {
      const std::string suggestion = schema_.suggest_option("." + name);
      problems_.add(place(section.place), "expected a [section] around every key, got " + section.name +
                                              " outside of one" +
                                              (suggestion.empty() ? "" : " (try " + suggestion + ")"));
      return;
    }
    if (!schema_.has_section(name)) {
      const std::string owner = owner_of_section(tasks_, task_.kind, name);
      const std::string suggestion = schema_.suggest_section(name);
      const std::string hint = suggestion.empty() ? "" : " (try [" + suggestion + "])";
      problems_.add(place(section.place), owner.empty() ? "expected a known section, got [" + section.name + "]" + hint
                                                        : expected_own() + ", got [" + section.name + "]" + owner);
      return;
    }
    for (const TomlEntry& entry : section.entries) read_entry(name, entry);
  }

  void read_entry(const std::string& section, const TomlEntry& entry) {
    const std::string name = section + "." + with_underscores(entry.key);
    const OptionTarget target = schema_.find(name);
    if (!target.is_known()) {
      const std::string owner = owner_of_option(tasks_, task_.kind, name);
      const std::string suggestion = schema_.suggest_option(name);
      const std::string hint = suggestion.empty() ? "" : " (try " + suggestion + ")";
      problems_.add(place(entry.key_place), (owner.empty() ? "expected a known option" : expected_own()) + ", got " +
                                                section + "." + entry.key + (owner.empty() ? hint : owner));
      return;
    }
    const auto [earlier, is_new] = in_file_.try_emplace(target.name, FileEntry{name, entry});
    if (!is_new) {
      const FileEntry& other = earlier->second;
      if (other.entry.value != entry.value) {
        problems_.add(
            place(entry.key_place),
            str("expected one value for ", target.name, ", got ", describe(entry.value), " as ", name, " and ",
                describe(other.entry.value), " as ", other.name, " in line ", other.entry.key_place.line));
      }
      return;
    }
    set_option(target, entry.value, place(entry.value_place), name);
  }

  void set_option(const OptionTarget& target, const TomlValue& value, const std::string& at, const std::string& name) {
    const bool on_command_line = at == "--" + name;
    const std::string prefix = on_command_line ? "" : name + ": ";
    if (target.option != nullptr) {
      const std::string problem = assign(*target.option, value);
      if (!problem.empty()) problems_.add(at, prefix + problem);
      given_.spellings[target.name] = name;
      if (on_command_line) given_.on_command_line.insert(target.name);
      return;
    }
    const ForeignOption& foreign = *target.foreign;
    warnings_.erase(target.name);
    refused_.erase(target.name);
    const std::string problem = check_type(foreign, value);
    if (!problem.empty()) {
      problems_.add(at, prefix + problem);
    } else if (!is_harmless(foreign, value)) {
      if (foreign.answer == ForeignOption::Answer::kTranslate) {
        given_.translated.emplace_back(target.name, value);
      } else if (foreign.answer == ForeignOption::Answer::kWarn) {
        warnings_[target.name] = str("[", at, "] ", target.name, " has no effect: ", foreign.reason);
      } else {
        refused_[target.name] = str("[", at, "] ", prefix, "expected ", foreign.harmless, ", got ", describe(value),
                                    " (", foreign.reason, ")");
      }
    }
  }

  struct FileEntry {
    std::string name;
    TomlEntry entry;
  };

  TaskKinds tasks_;
  TaskSchema task_;
  RunConfig& config_;
  const Schema& schema_;
  std::string file_name_;
  Problems problems_;
  std::map<std::string, FileEntry> in_file_;     // by canonical name
  std::map<std::string, std::string> warnings_;  // by name, so that the command line can cancel a file's warning
  std::map<std::string, std::string> refused_;
  GivenOptions given_;
};

}  // namespace

std::unique_ptr<RunConfig> load_run_config(TaskKinds tasks, const std::filesystem::path& path,
                                           const std::vector<std::string>& arguments) {
  const Arguments split = split_arguments(tasks, arguments);
  for (const std::vector<std::string>& surplus : {split.others, split.positional}) {
    if (!surplus.empty()) throw ConfigError("[" + surplus.front() + "] expected --section.key=value");
  }
  if (!path.empty() && !split.config_file.empty()) {
    throw ConfigError(str("[--job.config_file] expected one file, got ", path.string(), " and ", split.config_file));
  }
  const std::filesystem::path file = path.empty() ? std::filesystem::path(split.config_file) : path;
  const std::vector<TomlSection> sections = file.empty() ? std::vector<TomlSection>() : read_toml_file(file);
  std::vector<Override> overrides;
  for (const std::string& argument : split.overrides) overrides.push_back(parse_override(argument));

  Loader loader(tasks, choose_task(tasks, find_hints(file.string(), sections, overrides)), file.string());
  loader.read_file(sections);
  for (const Override& given : overrides) loader.read_override(given);
  return loader.finish();
}

}  // namespace millrace
