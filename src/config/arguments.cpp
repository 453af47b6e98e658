#include "config/arguments.h"

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "config/schema.h"

namespace millrace {
namespace {

bool is_truth_value(const std::string& word) {
  const std::string lower = to_lower(word);
  return lower == "true" || lower == "false";
}

}  // namespace

Arguments split_arguments(const std::vector<std::string>& args) {
  RunConfig defaults;
  const Schema schema(defaults);
  Arguments split;
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string& word = args[i];
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    if (!starts_with(word, "-") || word == "-") {
      split.positional.push_back(word);
      continue;
    }
    if (!starts_with(word, "--") || name.find('.') == std::string::npos) {
      split.others.push_back(word);
      continue;
    }
    std::string option = word;
    if (equals == std::string::npos) {
      const OptionTarget target = schema.find(std::string_view(name).substr(2), true);
      const bool has_next = i + 1 < args.size() && !starts_with(args[i + 1], "--");
      if (target.is_flag() ? has_next && !target.negated && is_truth_value(args[i + 1]) : has_next) {
        option += "=" + args[++i];
      } else if (target.is_known() && !target.may_stand_alone()) {
        throw ConfigError(str("[", name, "] expected a value, got nothing (try ", name, "=VALUE)"));
      }
    }
    if (with_underscores(name) == "__job.config_file") {
      split.config_file = option.substr(option.find('=') + 1);
    } else {
      split.overrides.push_back(option);
    }
  }
  return split;
}

}  // namespace millrace
