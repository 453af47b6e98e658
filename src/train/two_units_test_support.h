// Two linear layers as a model's units, for tests.
#pragma once

#include <vector>

#include "nn/linear.h"
#include "parallel/flat_parameters.h"

namespace millrace {

inline std::vector<UnitSpec> two_units(const Linear& a, const Linear& b) {
  return {{"a", {{"a.weight", a.plain_weight()}, {"a.bias", a.bias()}}},
          {"b", {{"b.weight", b.plain_weight()}, {"b.bias", b.bias()}}}};
}

}  // namespace millrace
