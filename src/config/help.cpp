#include "config/help.h"

#include <algorithm>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "config/optimizer_rules.h"
#include "config/schema.h"

namespace millrace {
namespace {

constexpr size_t kWidth = 100;

std::string wrap(const std::string& text, size_t indent) {
  std::string wrapped, line(indent, ' ');
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (line.size() > indent && line.size() + 1 + word.size() > kWidth) {
      wrapped += line + "\n";
      line.assign(indent, ' ');
    }
    line += (line.size() > indent ? " " : "") + word;
  }
  return wrapped + line + "\n";
}

// The placeholder after the name: "N", "TEXT", ...
std::string placeholder(const Option& option) {
  if (option.is_flag()) return "";
  if (std::holds_alternative<std::vector<std::string>*>(option.member)) return " TEXT,TEXT,...";
  if (std::holds_alternative<std::vector<int64_t>*>(option.member)) return " N,N,...";
  if (option.is_text()) {
    if (option.info.choices.empty() || option.info.choices.size() > 4) return " TEXT";
    return " " + join({option.info.choices.begin(), option.info.choices.end()}, "|");
  }
  if (std::holds_alternative<std::optional<StepsOrPart>*>(option.member)) return " N|X|P%";
  const bool is_whole =
      std::holds_alternative<int64_t*>(option.member) || std::holds_alternative<std::optional<int64_t>*>(option.member);
  return is_whole ? " N" : " X";
}

std::string aliases_of(const Option& option) {
  return join({option.info.aliases.begin(), option.info.aliases.end()}, ", ");
}

std::string type_and_range(const Option& option) {
  const std::string allowed = allowed_values(option);
  if (!option.info.choices.empty()) return allowed;
  return type_name(option) + (*option.info.unit ? str(" (", option.info.unit, ")") : "") +
         (allowed.empty() ? "" : ", " + allowed);
}

std::string default_text(const Option& option) {
  const std::string by_rule = option.section == "optimizer" ? rule_defaults(option.info.name) : "";
  return by_rule.empty() ? value_text(option) : by_rule;
}

std::string option_help(const Option& option) {
  const OptionInfo& info = option.info;
  std::string text = "  --" + option.full_name() + placeholder(option);
  text += "\n" + wrap(info.meaning, 6);
  std::string facts = type_and_range(option);
  facts += "; default " + default_text(option);
  if (*info.torchtitan_default) facts += str(" (torchtitan: ", info.torchtitan_default, ")");
  if (!info.aliases.empty()) facts += "; also " + aliases_of(option);
  return text + wrap(facts, 6);
}

const char* answer_name(ForeignOption::Answer answer) {
  switch (answer) {
    case ForeignOption::Answer::kWarn:
      return "warning";
    case ForeignOption::Answer::kRefuse:
      return "error";
    case ForeignOption::Answer::kTranslate:
      return "switch";
  }
  return "";
}

// A cell of a Markdown table.
std::string cell(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

// The options that a task adds to those of every task.
struct HelpPart {
  std::string title;  // "" for what every task has
  std::vector<OptionSection> sections;
  std::vector<ForeignOption> foreign_options;
};

// `config` owns what the options point to.
HelpPart own_part(const TaskKind& task, RunConfig& config) {
  HelpPart part{task.name, {}, {}};
  std::set<std::string> shared;
  RunConfig general;
  for (const OptionSection& section : option_sections(general)) {
    for (const Option& option : section.options) shared.insert(option.full_name());
  }
  for (const ForeignOption& option : general_foreign_options()) shared.insert(option.name);
  for (OptionSection& section : option_sections(config)) {
    std::erase_if(section.options, [&](const Option& option) { return shared.contains(option.full_name()); });
    if (!section.options.empty()) part.sections.push_back(std::move(section));
  }
  for (const ForeignOption& option : config.foreign_options()) {
    if (!shared.contains(option.name)) part.foreign_options.push_back(option);
  }
  return part;
}

std::string section_tables(const std::vector<OptionSection>& sections) {
  std::string text;
  for (const OptionSection& section : sections) {
    text += "### [" + section.name + "]\n\n" + section.meaning + "\n\n";
    text += "| key | type | default | meaning |\n|---|---|---|---|\n";
    for (const Option& option : section.options) {
      const OptionInfo& info = option.info;
      std::string meaning = info.meaning;
      if (!info.aliases.empty()) {
        meaning += ". Also accepted: `" + join({info.aliases.begin(), info.aliases.end()}, "`, `") + "`";
      }
      std::string preset = "`" + default_text(option) + "`";
      if (*info.torchtitan_default) preset += str(" (torchtitan: ", info.torchtitan_default, ")");
      text += "| `" + std::string(info.name) + "` | " + cell(type_and_range(option)) + " | " + cell(preset) + " | " +
              cell(meaning) + " |\n";
    }
    text += "\n";
  }
  return text;
}

// whose: "torchtitan's", as in the headings that other pages link to.
std::string foreign_table(const std::vector<ForeignOption>& options, const char* whose) {
  std::string text = str("### ", whose, " options that are not ours\n\n");
  text +=
      "Those of torchtitan are accepted, so that its files run unchanged. Any value other than the harmless one gives "
      "a warning, or an error "
      "if the run would not do what was requested.\n\n"
      "| option | harmless value | otherwise | why |\n"
      "|---|---|---|---|\n";
  for (const ForeignOption& option : options) {
    text += str("| `", option.name, "` | `", option.harmless, "` | ", answer_name(option.answer), " | ",
                cell(option.reason), " |\n");
  }
  return text;
}

}  // namespace

std::string options_help(TaskKinds tasks, const std::string& wanted) {
  std::string text;
  std::vector<std::string> names;
  const auto add = [&](const HelpPart& part) {
    bool has_title = part.title.empty() || !wanted.empty();
    for (const OptionSection& section : part.sections) {
      if (std::find(names.begin(), names.end(), section.name) == names.end()) names.push_back(section.name);
      if (!wanted.empty() && section.name != with_underscores(wanted)) continue;
      if (!has_title) text += "\nonly for the task " + part.title + "\n";
      has_title = true;
      const std::string owner = wanted.empty() || part.title.empty() ? "" : " (only for the task " + part.title + ")";
      text += (text.empty() ? "" : "\n") + section.name + ": " + section.meaning + owner + "\n";
      for (const Option& option : section.options) text += option_help(option);
    }
  };
  RunConfig defaults;
  add({"", option_sections(defaults), {}});
  for (const TaskKind& task : tasks) {
    const std::unique_ptr<RunConfig> config = task.make_config();
    add(own_part(task, *config));
  }
  if (text.empty()) {
    const std::string suggestion = nearest(wanted, names);
    throw ConfigError("[--help=" + wanted + "] expected one of " + join(names, ", ") +
                      (suggestion.empty() ? "" : " (try " + suggestion + ")"));
  }
  if (!wanted.empty()) return text;
  std::string list = "tasks:\n";
  for (const TaskKind& task : tasks) list += str("  ", task.name, "\n", wrap(task.summary, 6));
  return list + "\n" + text;
}

std::string options_markdown() {
  RunConfig defaults;
  return section_tables(option_sections(defaults)) + foreign_table(general_foreign_options(), "torchtitan's");
}

std::string options_markdown(const TaskKind& task) {
  const std::unique_ptr<RunConfig> config = task.make_config();
  const HelpPart part = own_part(task, *config);
  return section_tables(part.sections) + foreign_table(part.foreign_options, "Other programs'");
}

}  // namespace millrace
