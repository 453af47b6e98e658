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

std::vector<std::unique_ptr<const TaskSchema>> make_schemas(TaskKinds tasks) {
  std::vector<std::unique_ptr<const TaskSchema>> schemas;
  for (const TaskKind& task : tasks) schemas.push_back(std::make_unique<TaskSchema>(task));
  return schemas;
}

OptionTarget find(const std::vector<std::unique_ptr<const TaskSchema>>& schemas, std::string_view name) {
  for (const auto& task : schemas) {
    const OptionTarget target = task->schema.find(name, /*allow_negation=*/true);
    if (target.is_known()) return target;
  }
  return {};
}

}  // namespace

Arguments split_arguments(TaskKinds tasks, const std::vector<std::string>& args, const WordsOfOption& words_of_option) {
  const std::vector<std::unique_ptr<const TaskSchema>> schemas = make_schemas(tasks);
  Arguments split;
  const auto own_words = [&](size_t i) { return words_of_option ? words_of_option(i) : size_t{0}; };
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string& word = args[i];
    const auto here = args.begin() + static_cast<ptrdiff_t>(i);
    if (word == "--") {
      split.positional.insert(split.positional.end(), here + 1, args.end());
      break;
    }
    if (const size_t count = own_words(i); count > 0) {
      split.own.insert(split.own.end(), here, here + static_cast<ptrdiff_t>(count));
      i += count - 1;
      continue;
    }
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
      const OptionTarget target = find(schemas, std::string_view(name).substr(2));
      // "-o" is the command's own option; "-oats.toml" is more likely a value than that option with a value.
      const bool next_is_own = i + 1 < args.size() && args[i + 1].size() == 2 && own_words(i + 1) > 0;
      const bool has_next = i + 1 < args.size() && !starts_with(args[i + 1], "--") && !next_is_own;
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
