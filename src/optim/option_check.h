// The checks that rules apply to their options.
#pragma once

#include <vector>

#include "optim/flat_group.h"

namespace millrace {

// Throws ConfigError "[optimizer.<key>] expected <expected>, got <got>" unless good.
void require_option(bool good, const char* key, const char* expected, double got);

// For rules that find the step size themselves: throws ConfigError unless every group's rate is lr or 0.
void require_one_rate(const std::vector<FlatGroup>& groups, const char* rule);

}  // namespace millrace
