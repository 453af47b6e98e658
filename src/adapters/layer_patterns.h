// Which layers a list of patterns chooses.
#pragma once

#include <string>
#include <vector>

namespace millrace {

// Those of `names` that match at least one pattern, in the order of `names`. In a pattern * stands for any characters,
// dots too, ? for one, and [abc] for one of these. Throws ConfigError for a pattern that matches no layer, naming the
// option and the nearest layer.
std::vector<std::string> matching_layers(const std::vector<std::string>& names,
                                         const std::vector<std::string>& patterns, const std::string& option);

}  // namespace millrace
