// An optimizer's state, as tensors with a description of their layout, so that a checkpoint can name them and
// any number of ranks can share or load them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <torch/types.h>

namespace millrace {

// One tensor of the state: the tensor itself, to save and to load into.
struct StateTensor {
  enum class Extent {
    kElements,   // one number per element of a group's master, in its order: every rank has its own part
    kParameter,  // of one parameter, with its own shape
    kOptimizer,  // of the whole optimizer
  };

  std::string name;  // "exp_avg"; with kParameter and kElements a checkpoint prefixes the parameter's name
  torch::Tensor tensor;
  Extent extent = Extent::kElements;
  size_t group = 0;  // kElements, kParameter: whose
  // kElements: covers only the group's parameters with these indices; not set: all of them.
  std::optional<std::vector<size_t>> ranges = std::nullopt;
  // kParameter: the parameter and, if ranks hold parts of the tensor, this rank's part: its elements are a run of
  // the whole tensor, which has this shape. An empty shape: all of it, equal on every rank.
  std::string parameter = {};
  std::vector<int64_t> global_shape = {};
  int64_t offset = 0;
  bool primary = true;  // runs only: false if another rank saves the same run
};

}  // namespace millrace
