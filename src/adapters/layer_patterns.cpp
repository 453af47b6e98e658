#include "adapters/layer_patterns.h"

#include <fnmatch.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "base/regular_expression.h"
#include "base/text.h"
#include "config/number_text.h"

namespace millrace {
namespace {

constexpr const char* kRegularExpression = "re:";
constexpr size_t kMostNames = 10000;  // that braces may stand for

// "a.{0,2-3}.b" stands for "a.0.b", "a.2.b" and "a.3.b". Empty: it cannot be read.
std::vector<std::string> without_braces(const std::string& text) {
  const size_t open = text.find('{'), close = text.find('}');
  if (open == std::string::npos && close == std::string::npos) return {text};
  if (open == std::string::npos || close == std::string::npos || close < open) return {};
  const std::vector<std::string> rests = without_braces(text.substr(close + 1));
  std::vector<std::string> names;
  for (const std::string& part : split(text.substr(open + 1, close - open - 1), ',')) {
    const std::vector<std::string> ends = split(part, '-');
    const std::optional<int64_t> first = parse_integer(trim(ends.front())), last = parse_integer(trim(ends.back()));
    const bool is_range = first && last && ends.size() <= 2 && *first >= 0 && *first <= *last;
    if (!is_range || *last - *first >= static_cast<int64_t>(kMostNames)) return {};
    for (int64_t number = *first; number <= *last; ++number) {
      for (const std::string& rest : rests) names.push_back(str(text.substr(0, open), number, rest));
      if (names.size() > kMostNames) return {};
    }
  }
  return names;
}

}  // namespace

LayerPattern::LayerPattern(const std::string& text, const std::string& option) {
  if (starts_with(text, kRegularExpression)) {
    const std::string expression = text.substr(std::string(kRegularExpression).size());
    try {
      fits_ = [regex = RegularExpression(expression)](const std::string& layer) { return regex.found_in(layer); };
    } catch (const ConfigError& error) {
      throw ConfigError("[" + option + "] expected a regular expression after re:, got \"" + expression +
                        "\": " + error.what());
    }
    return;
  }
  const std::vector<std::string> globs = without_braces(text);
  if (globs.empty()) {
    throw ConfigError("[" + option + "] expected whole numbers and ranges that rise in braces ({0,3,8-11}), got \"" +
                      text + "\"");
  }
  fits_ = [globs](const std::string& layer) {
    return std::any_of(globs.begin(), globs.end(),
                       [&](const std::string& glob) { return ::fnmatch(glob.c_str(), layer.c_str(), 0) == 0; });
  };
}

bool is_layer_name(const std::string& text) {
  return !starts_with(text, kRegularExpression) && text.find_first_of("*?[{") == std::string::npos;
}

std::vector<std::string> matching_layers(const std::vector<std::string>& names,
                                         const std::vector<std::string>& patterns, const std::string& option) {
  std::vector<char> is_chosen(names.size(), 0);
  for (const std::string& text : patterns) {
    const LayerPattern pattern(text, option);
    bool matches_any = false;
    for (size_t i = 0; i < names.size(); ++i) {
      if (!pattern.fits(names[i])) continue;
      matches_any = true;
      is_chosen[i] = 1;
    }
    if (!matches_any) throw_unmatched(text, names, option);
  }
  std::vector<std::string> chosen;
  for (size_t i = 0; i < names.size(); ++i) {
    if (is_chosen[i] != 0) chosen.push_back(names[i]);
  }
  return chosen;
}

void throw_unmatched(const std::string& pattern, const std::vector<std::string>& names, const std::string& option,
                     const std::string& which) {
  const std::string suggestion = nearest(pattern, names);
  const std::string& example = suggestion.empty() && !names.empty() ? names.front() : suggestion;
  throw ConfigError("[" + option + "] expected the name of a linear layer or a pattern of such names, got \"" +
                    pattern + "\", which matches none" + which + (example.empty() ? "" : " (try \"" + example + "\")"));
}

}  // namespace millrace
