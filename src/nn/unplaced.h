// Parameters with a shape but no memory yet: FlatParameters places them.
#pragma once

#include <torch/types.h>

namespace millrace {

torch::Tensor unplaced_parameter(c10::IntArrayRef shape);

// While it lives, unplaced_parameter() returns tensors of the meta device on this thread, since tensors cannot be moved
// there from another device. For models that are planned, not trained.
class MetaParameters {
 public:
  MetaParameters();
  ~MetaParameters();
  MetaParameters(const MetaParameters&) = delete;
  MetaParameters& operator=(const MetaParameters&) = delete;

 private:
  bool previous_;
};

}  // namespace millrace
