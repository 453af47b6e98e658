// Parameters that every rank holds whole beside a layer that it has a part of: an adapter's matrix, say.
#pragma once

#include <torch/types.h>

#include <vector>

#include "comm/group.h"
#include "parallel/tensor_parallel.h"
#include "parallel/tensor_split.h"

namespace millrace {

// While it lives, `.grad()` of those of the parameters that are trained is a share of this rank, from zero; finish()
// puts the gradients back, with the sum of all ranks' shares added. On one rank (tp is null) it does nothing.
class PartialGradients {
 public:
  PartialGradients(Group* tp, const std::vector<torch::Tensor>& parameters);
  // Collective if anything is trained.
  void finish();

 private:
  std::vector<torch::Tensor> parameters_, gradients_;  // those that are trained
  SharedGradients shares_;                             // in the gradients' dtype, as `.grad()` has to be
};

// The whole tensor from every rank's part of it; own itself where it is whole. Collective otherwise.
torch::Tensor whole_of_parts(Group* tp, const TensorPart& part, const torch::Tensor& own);

}  // namespace millrace
