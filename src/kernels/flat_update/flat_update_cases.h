// Every rule with numbers and buffers as in training, for tests and for `millrace verify`.
#pragma once

#include <vector>

#include "kernels/flat_update/flat_update.h"

namespace millrace {

struct FlatUpdateCase {
  FlatRule rule;
  FlatUpdateNumbers numbers;

  // Random; squared averages are not negative.
  FlatUpdateBuffers buffers(int64_t size, torch::ScalarType param_type, torch::Device device = torch::kCPU) const;
  // Zeros, or undefined for a rule without sums.
  torch::Tensor new_sums(torch::Device device = torch::kCPU) const;
};

std::vector<FlatUpdateCase> flat_update_cases();

FlatUpdateBuffers copy_of(const FlatUpdateBuffers& buffers);
// Elements [begin, begin + size), as a shard.
FlatUpdateBuffers part_of(const FlatUpdateBuffers& buffers, int64_t begin, int64_t size);

}  // namespace millrace
