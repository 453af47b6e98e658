// "pattern=number" for layers that each have a number: the inverse of adapters/layer_numbers.h.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace millrace {

// A number of each layer, in the layers' order.
using NumbersByLayer = std::vector<std::pair<std::string, double>>;

// As few "pattern=number" as say which number each layer has; none for those that have the usual one. The first that
// fits counts.
std::vector<std::string> number_patterns(const NumbersByLayer& numbers, double usual);

}  // namespace millrace
