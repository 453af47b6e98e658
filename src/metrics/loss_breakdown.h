// A validation's loss in parts: for diffusion models, one mean per timestep.
#pragma once

#include <string>
#include <vector>

namespace millrace {

struct LossBreakdown {
  std::string name;            // of one part, singular: "timestep"
  std::vector<double> values;  // mean loss of part i of values.size(), NaN for a part without samples
};

}  // namespace millrace
