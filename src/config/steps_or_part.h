// A number of steps that may also be written as a fraction of all steps: 200, 0.1 or "10%".
#pragma once

#include <cstdint>

namespace millrace {

struct StepsOrPart {
  int64_t steps = 0;
  double part = 0;  // above 0: used instead of steps

  bool is_part() const { return part > 0; }
  // Rounded down, as sd-scripts does.
  int64_t of(int64_t total_steps) const {
    return is_part() ? static_cast<int64_t>(part * static_cast<double>(total_steps)) : steps;
  }
  bool operator==(const StepsOrPart&) const = default;
};

}  // namespace millrace
