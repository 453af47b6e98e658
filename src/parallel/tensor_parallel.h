// Sums over the ranks that share a layer's heads or channels.
//
// Each rank computes with its part of the weights, so that a product that joins the parts, and every gradient to which
// all parts contribute, is a sum over the ranks (Megatron-LM, Shoeybi et al., arXiv 1909.08053). A null group is a
// single rank: nothing is sent.
#pragma once

#include <torch/types.h>

#include <vector>

#include "comm/group.h"

namespace millrace {

// Starts summing the ranks' parts of x, in place.
Work sum_over_tp(Group* tp, const torch::Tensor& x);

// Gradients of small parameters that every rank holds whole (the scales of a norm over a head) but of which each rank
// computes only its heads' share. The shares go to a buffer that finish() sums over the ranks and adds to the
// gradients. On one rank they are added to the gradients directly.
class SharedGradients {
 public:
  // Undefined gradients belong to frozen parameters and stay undefined. dtype is that of the buffer.
  SharedGradients(Group* tp, std::vector<torch::Tensor> gradients, torch::ScalarType dtype = torch::kFloat32);

  // The buffer for gradient i; undefined if the gradient is.
  const torch::Tensor& target(size_t i) const { return targets_[i]; }
  // Collective if there is anything to sum.
  void finish();

 private:
  Group* tp_;
  std::vector<torch::Tensor> gradients_, targets_;
  torch::Tensor shares_;  // 1-D; undefined on one rank
};

}  // namespace millrace
