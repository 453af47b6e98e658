#include "config/help.h"

#include <sstream>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
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

// What stands after the name: "N", "TEXT", ...
std::string placeholder(const Option& option) {
  if (option.is_flag()) return "";
  if (std::holds_alternative<std::vector<std::string>*>(option.member)) return " TEXT,TEXT,...";
  if (std::holds_alternative<std::vector<int64_t>*>(option.member)) return " N,N,...";
  if (std::holds_alternative<std::string*>(option.member)) {
    if (option.info.choices.empty() || option.info.choices.size() > 4) return " TEXT";
    return " " + join({option.info.choices.begin(), option.info.choices.end()}, "|");
  }
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

std::string option_help(const Option& option) {
  const OptionInfo& info = option.info;
  std::string text = "  --" + option.full_name() + placeholder(option);
  text += "\n" + wrap(info.meaning, 6);
  std::string facts = type_and_range(option);
  facts += "; default " + value_text(option);
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
    case ForeignOption::Answer::kGuidanceSwitch:
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

}  // namespace

std::string options_help(const std::string& wanted) {
  RunConfig defaults;
  const Schema schema(defaults);
  std::string text;
  std::vector<std::string> names;
  for (const OptionSection& section : schema.sections()) {
    names.push_back(section.name);
    if (!wanted.empty() && section.name != with_underscores(wanted)) continue;
    text += (text.empty() ? "" : "\n") + section.name + ": " + section.meaning + "\n";
    for (const Option& option : section.options) text += option_help(option);
  }
  if (text.empty()) {
    const std::string suggestion = nearest(wanted, names);
    throw ConfigError("[--help=" + wanted + "] expected one of " + join(names, ", ") +
                      (suggestion.empty() ? "" : " (try " + suggestion + ")"));
  }
  return text;
}

std::string options_markdown() {
  RunConfig defaults;
  const Schema schema(defaults);
  std::string text;
  for (const OptionSection& section : schema.sections()) {
    text += "### [" + section.name + "]\n\n" + section.meaning + "\n\n";
    text += "| key | type | default | meaning |\n|---|---|---|---|\n";
    for (const Option& option : section.options) {
      const OptionInfo& info = option.info;
      std::string meaning = info.meaning;
      if (!info.aliases.empty()) {
        meaning += ". Also accepted: `" + join({info.aliases.begin(), info.aliases.end()}, "`, `") + "`";
      }
      std::string preset = "`" + value_text(option) + "`";
      if (*info.torchtitan_default) preset += str(" (torchtitan: ", info.torchtitan_default, ")");
      text += "| `" + std::string(info.name) + "` | " + cell(type_and_range(option)) + " | " + cell(preset) + " | " +
              cell(meaning) + " |\n";
    }
    text += "\n";
  }
  text += "### torchtitan's options that are not ours\n\n";
  text +=
      "Accepted, so that its files run as they are. Any other value than the harmless one brings a warning, or an "
      "error where the run would not be what was asked for.\n\n";
  text += "| option | harmless value | otherwise | why |\n|---|---|---|---|\n";
  for (const ForeignOption& option : foreign_options()) {
    text += str("| `", option.name, "` | `", option.harmless, "` | ", answer_name(option.answer), " | ",
                cell(option.reason), " |\n");
  }
  return text;
}

}  // namespace millrace
