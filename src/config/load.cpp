// File and command line into a RunConfig. Every problem is collected before anything is thrown.
#include <map>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "config/arguments.h"
#include "config/cross_checks.h"
#include "config/run_config.h"
#include "config/schema.h"
#include "config/toml_file.h"

namespace millrace {
namespace {

class Loader {
 public:
  Loader() : schema_(config_) {}

  void read_file(const std::filesystem::path& path) {
    file_name_ = path.string();
    for (const TomlSection& section : read_toml_file(path)) read_section(section);
  }

  void read_override(const std::string& argument) {
    const size_t equals = argument.find('=');
    const std::string place = argument.substr(0, equals);
    const std::string name = with_underscores(place.substr(std::min<size_t>(2, place.size())));
    const OptionTarget target = schema_.find(name, true);
    if (!starts_with(place, "--") || !target.is_known()) {
      const std::string suggestion = schema_.suggest_option(name, "--");
      problems_.add(place, "expected a known option" + (suggestion.empty() ? "" : " (try " + suggestion + ")"));
      return;
    }
    TomlValue value{.kind = TomlValue::Kind::kBool, .boolean = !target.negated};
    if (equals != std::string::npos) {
      if (target.negated) {
        problems_.add(place, "expected no value after a no_ option");
        return;
      }
      const std::string text = argument.substr(equals + 1);
      try {
        value = target.option ? value_from_text(*target.option, text, place)
                              : value_from_text(*target.foreign, text, place);
      } catch (const ConfigError& error) {
        problems_.add_line(error.what());
        return;
      }
    } else if (!target.may_stand_alone()) {
      problems_.add(place, "expected a value, got nothing (try " + place + "=VALUE)");
      return;
    }
    give(target, value, place, name);
  }

  RunConfig finish() {
    apply_torchtitan_switches();
    for (const auto& [name, refusal] : refused_) problems_.add_line(refusal);
    if (problems_.empty()) check_between_options(config_, problems_);
    if (!problems_.empty() && !file_name_.empty()) {
      problems_.add_line("(options and their defaults: millrace train --help)");
    }
    problems_.throw_if_any();
    for (const auto& [name, warning] : warnings_) log_warning(warning);
    return config_;
  }

 private:
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
      const std::string suggestion = schema_.suggest_section(name);
      problems_.add(place(section.place), "expected a known section, got [" + section.name + "]" +
                                              (suggestion.empty() ? "" : " (try [" + suggestion + "])"));
      return;
    }
    for (const TomlEntry& entry : section.entries) read_entry(name, entry);
  }

  void read_entry(const std::string& section, const TomlEntry& entry) {
    const std::string name = section + "." + with_underscores(entry.key);
    const OptionTarget target = schema_.find(name);
    if (!target.is_known()) {
      const std::string suggestion = schema_.suggest_option(name);
      problems_.add(place(entry.key_place), "expected a known option, got " + section + "." + entry.key +
                                                (suggestion.empty() ? "" : " (try " + suggestion + ")"));
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
    give(target, entry.value, place(entry.value_place), name);
  }

  void give(const OptionTarget& target, const TomlValue& value, const std::string& at, const std::string& name) {
    const bool on_command_line = at == "--" + name;
    const std::string prefix = on_command_line ? "" : name + ": ";
    if (target.option != nullptr) {
      const std::string problem = assign(*target.option, value);
      if (!problem.empty()) problems_.add(at, prefix + problem);
      given_[target.name] = name;
      if (on_command_line) on_command_line_.insert(target.name);
      return;
    }
    const ForeignOption& foreign = *target.foreign;
    warnings_.erase(target.name);
    refused_.erase(target.name);
    const std::string problem = check_type(foreign, value);
    if (!problem.empty()) {
      problems_.add(at, prefix + problem);
    } else if (!is_harmless(foreign, value)) {
      if (foreign.answer == ForeignOption::Answer::kGuidanceSwitch) {
        guidance_ = value.boolean;
      } else if (foreign.answer == ForeignOption::Answer::kWarn) {
        warnings_[target.name] = str("[", at, "] ", target.name, " has no effect: ", foreign.reason);
      } else {
        refused_[target.name] = str("[", at, "] ", prefix, "expected ", foreign.harmless, ", got ", describe(value),
                                    " (", foreign.reason, ")");
      }
    }
  }

  void apply_torchtitan_switches() {
    // The MLPerf branch has no switch for validation: naming a data set is the switch, naming none (--eval.dataset=)
    // too. Said on the command line, it beats a switch in the file.
    const auto dataset = given_.find("validation.dataset");
    const bool by_switch = given_.contains("validation.enable") && (on_command_line_.contains("validation.enable") ||
                                                                    !on_command_line_.contains("validation.dataset"));
    if (dataset != given_.end() && starts_with(dataset->second, "eval.") && !by_switch) {
      config_.validation.enable = !config_.validation.dataset.empty();
    }
    const auto scale = given_.find("sample.guidance_scale");
    if (!guidance_ || (scale != given_.end() && scale->second == "sample.guidance_scale")) return;
    constexpr double kTorchtitanScale = 5.0;
    if (!*guidance_) config_.sample.guidance_scale = 1.0;
    if (*guidance_ && scale == given_.end()) config_.sample.guidance_scale = kTorchtitanScale;
  }

  struct FileEntry {
    std::string name;
    TomlEntry entry;
  };

  RunConfig config_;
  Schema schema_;  // points into config_
  std::string file_name_;
  Problems problems_;
  std::map<std::string, FileEntry> in_file_;     // by canonical name
  std::map<std::string, std::string> warnings_;  // by name, so that the command line can take a file's back
  std::map<std::string, std::string> refused_;
  std::map<std::string, std::string> given_;  // canonical name -> the spelling used last
  std::set<std::string> on_command_line_;     // canonical names
  std::optional<bool> guidance_;              // torchtitan's enable_classifier_free_guidance
};

}  // namespace

RunConfig load_run_config(const std::filesystem::path& path, const std::vector<std::string>& overrides) {
  const Arguments arguments = split_arguments(overrides);
  for (const std::vector<std::string>& surplus : {arguments.others, arguments.positional}) {
    if (!surplus.empty()) throw ConfigError("[" + surplus.front() + "] expected --section.key=value");
  }
  if (!path.empty() && !arguments.config_file.empty()) {
    throw ConfigError(
        str("[--job.config_file] expected one file, got ", path.string(), " and ", arguments.config_file));
  }
  Loader loader;
  const std::filesystem::path file = path.empty() ? std::filesystem::path(arguments.config_file) : path;
  if (!file.empty()) loader.read_file(file);
  for (const std::string& argument : arguments.overrides) loader.read_override(argument);
  return loader.finish();
}

}  // namespace millrace
