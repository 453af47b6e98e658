// A RunConfig as TOML.
#include "config/lr_schedule_rules.h"
#include "config/optimizer_rules.h"
#include "config/option_table.h"
#include "config/run_config.h"

namespace millrace {

std::string to_toml(const RunConfig& config) {
  const std::unique_ptr<RunConfig> copy = config.clone(), resolved = config.clone();
  resolved->optimizer = with_rule_defaults(config.optimizer);
  resolved->lr_scheduler = with_schedule_defaults(config.lr_scheduler);
  const std::vector<OptionSection> sections = option_sections(*copy), resolved_sections = option_sections(*resolved);
  std::string text;
  for (size_t i = 0; i < sections.size(); ++i) {
    if (!text.empty()) text += '\n';
    text += "[" + sections[i].name + "]  # " + sections[i].meaning + "\n";
    for (size_t j = 0; j < sections[i].options.size(); ++j) {
      // TOML has no null: an unset option is printed as a comment, with its effective value, if any.
      const bool is_none = value_text(sections[i].options[j]) == "None";
      const Option& shown = resolved_sections[i].options[j];
      text += (is_none ? "# " : "") + std::string(shown.info.name) + " = " + value_text(shown) + "\n";
    }
  }
  return text;
}

}  // namespace millrace
