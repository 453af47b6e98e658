// A tensor and what a checkpoint calls it.
#pragma once

#include <string>

#include <torch/types.h>

namespace millrace {

struct NamedTensor {
  std::string name;
  torch::Tensor tensor;
};

}  // namespace millrace
