#include "adapters/layer_patterns.h"

#include <fnmatch.h>

#include "base/error.h"
#include "base/text.h"

namespace millrace {

std::vector<std::string> matching_layers(const std::vector<std::string>& names,
                                         const std::vector<std::string>& patterns, const std::string& option) {
  std::vector<char> is_chosen(names.size(), 0);
  for (const std::string& pattern : patterns) {
    bool matches_any = false;
    for (size_t i = 0; i < names.size(); ++i) {
      if (::fnmatch(pattern.c_str(), names[i].c_str(), 0) != 0) continue;
      matches_any = true;
      is_chosen[i] = 1;
    }
    if (matches_any) continue;
    const std::string suggestion = nearest(pattern, names);
    const std::string& example = suggestion.empty() && !names.empty() ? names.front() : suggestion;
    throw ConfigError("[" + option + "] expected the name of a linear layer or a pattern of such names, got \"" +
                      pattern + "\", which matches none" + (example.empty() ? "" : " (try \"" + example + "\")"));
  }
  std::vector<std::string> chosen;
  for (size_t i = 0; i < names.size(); ++i) {
    if (is_chosen[i] != 0) chosen.push_back(names[i]);
  }
  return chosen;
}

}  // namespace millrace
