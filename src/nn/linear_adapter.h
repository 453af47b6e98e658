// What an adapter (LoRA, DoRA, LoHa, LoKr) adds to a linear layer, as hooks around the layer's own products.
//
// The layer computes its product first and the adapter completes it in the same buffer, so that neither a second
// activation nor a pass of its own is needed, and so that several layers' products may still be one (joint_linear.h).
// Letters: M rows, N outputs, K inputs of the layer; R the adapter's rank.
#pragma once

#include <torch/types.h>

namespace millrace {

// What the three calls of one use of a layer share, kept by the caller between them: for LoRA the rank-r activation and
// its gradient. Empty is right as well; an adapter then computes again what it misses.
struct LinearPass {
  torch::Tensor down_MR, ddown_MR;
};

class LinearAdapter {
 public:
  virtual ~LinearAdapter() = default;
  LinearAdapter() = default;
  LinearAdapter(const LinearAdapter&) = delete;
  LinearAdapter& operator=(const LinearAdapter&) = delete;

  // out_MN holds the layer's own product of x_MK, without its bias, and leaves as the adapted layer's.
  virtual void complete_forward(torch::Tensor& out_MN, const torch::Tensor& x_MK, LinearPass& pass) const = 0;
  // The gradient of the layer's own product, given that of the adapted output. For adapters that only add to it: the
  // same.
  virtual torch::Tensor base_gradient(const torch::Tensor& dy_MN) const { return dy_MN; }
  // Adds to dx_MK what reaches the input through the adapter.
  virtual void add_input_gradient(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, LinearPass& pass) const = 0;
  // Adds the gradients of the adapter's own parameters.
  virtual void add_gradients(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, LinearPass& pass) = 0;
};

}  // namespace millrace
