// Parameters whose learning rate is a factor of the optimizer's.
#pragma once

#include <string>
#include <vector>

namespace millrace {

struct RateGroup {
  std::string name;
  double lr_factor = 1;                 // 0: they keep their values
  std::vector<std::string> parameters;  // consecutive in their layout
};

}  // namespace millrace
