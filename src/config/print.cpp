// A RunConfig as TOML.
#include "config/option_table.h"
#include "config/run_config.h"

namespace millrace {

std::string to_toml(const RunConfig& config) {
  RunConfig copy = config;
  std::string text;
  for (const OptionSection& section : option_sections(copy)) {
    if (!text.empty()) text += '\n';
    text += "[" + section.name + "]  # " + section.meaning + "\n";
    for (const Option& option : section.options) {
      const std::string value = value_text(option);
      // TOML has no null: a comment stands for the default of what may be None.
      text += (value == "None" ? "# " : "") + std::string(option.info.name) + " = " + value + "\n";
    }
  }
  return text;
}

}  // namespace millrace
