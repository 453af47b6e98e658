// What becomes of some of a model's tensors on the way from a file.
#pragma once

#include <torch/types.h>

#include <functional>
#include <string>

namespace millrace {

struct WeightChange {
  // Names are ours. None of the two: every tensor stays as it is.
  std::function<bool(const std::string& name)> concerns;
  std::function<torch::Tensor(const std::string& name, const torch::Tensor& tensor)> change;  // of those alone

  bool is_of(const std::string& name) const { return concerns && concerns(name); }
  torch::Tensor changed(const std::string& name, const torch::Tensor& tensor) const {
    return is_of(name) ? change(name, tensor) : tensor;
  }
};

}  // namespace millrace
