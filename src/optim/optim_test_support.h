// Groups of random weights for the optimizers' tests.
#pragma once

#include <string>

#include "optim/flat_group.h"

namespace millrace {

// With `copy`: as for a model that computes in bfloat16 from fp32 masters.
inline FlatGroup make_group(const std::string& name, int64_t size, torch::Dtype dtype = torch::kFloat32,
                            bool copy = false) {
  FlatGroup group;
  group.name = name;
  group.master = torch::randn({size}).to(dtype);
  group.grad = torch::zeros({size}, copy ? torch::kBFloat16 : dtype);
  if (copy) group.model_copy = group.master.to(torch::kBFloat16);
  return group;
}

}  // namespace millrace
