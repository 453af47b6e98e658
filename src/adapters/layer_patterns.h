// Which layers a pattern of names fits, and which a list of patterns chooses.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace millrace {

// A name in which * stands for any characters, dots too, ? for one, [abc] for one of these, and {0,3,8-11} for one of
// these whole numbers. Or, after "re:", a regular expression (Perl's) that some part of the name has to match, as
// for Python's re.search.
class LayerPattern {
 public:
  // Throws ConfigError, naming the option, for a regular expression or numbers in braces that cannot be read.
  LayerPattern(const std::string& text, const std::string& option);
  bool fits(const std::string& layer) const { return fits_(layer); }

 private:
  std::function<bool(const std::string&)> fits_;
};

// Whether the text is a name that no character makes a pattern.
bool is_layer_name(const std::string& text);

// Those of `names` that match at least one pattern, in the order of `names`. Throws ConfigError for a pattern that
// matches no layer, naming the option and the nearest layer.
std::vector<std::string> matching_layers(const std::vector<std::string>& names,
                                         const std::vector<std::string>& patterns, const std::string& option);

// The error for a pattern that fits none of these layers. which: what is said of them, such as " with an adapter".
[[noreturn]] void throw_unmatched(const std::string& pattern, const std::vector<std::string>& names,
                                  const std::string& option, const std::string& which = "");

}  // namespace millrace
