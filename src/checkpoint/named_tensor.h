// A tensor and its name in a checkpoint.
#pragma once

#include <string>

#include <torch/types.h>

namespace millrace {

struct NamedTensor {
  std::string name;
  torch::Tensor tensor;
};

}  // namespace millrace
