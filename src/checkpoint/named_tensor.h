// A tensor and what a checkpoint calls it.
#pragma once

#include <string>

#include <torch/torch.h>

namespace millrace {

struct NamedTensor {
  std::string name;
  torch::Tensor tensor;
};

}  // namespace millrace
