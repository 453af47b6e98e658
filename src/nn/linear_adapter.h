// An adapter (LoRA, DoRA, LoHa, LoKr) of a linear layer, as hooks around the layer's own products.
//
// The layer computes its product first and the adapter completes it in the same buffer, so that neither a second
// activation nor a separate pass is needed, and several layers' products can still be joined (joint_linear.h).
// Letters: M rows, N outputs, K inputs of the layer; R the adapter's rank.
#pragma once

#include <torch/types.h>

namespace millrace {

// State shared by the three calls of one use of a layer, kept by the caller between them: for LoRA the rank-r
// activation and its gradient. May be empty; the adapter then recomputes it.
struct LinearPass {
  torch::Tensor down_MR, ddown_MR;
};

class LinearAdapter {
 public:
  virtual ~LinearAdapter() = default;
  LinearAdapter() = default;
  LinearAdapter(const LinearAdapter&) = delete;
  LinearAdapter& operator=(const LinearAdapter&) = delete;

  // On entry out_MN holds the layer's own product of x_MK, without its bias; on return, the adapted layer's.
  virtual void complete_forward(torch::Tensor& out_MN, const torch::Tensor& x_MK, LinearPass& pass) const = 0;
  // The gradient of the layer's own product, given that of the adapted output. For purely additive adapters: the
  // same.
  virtual torch::Tensor base_gradient(const torch::Tensor& dy_MN) const { return dy_MN; }
  // Adds to dx_MK the gradient that reaches the input through the adapter.
  virtual void add_input_gradient(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, LinearPass& pass) const = 0;
  // Adds the gradients of the adapter's own parameters.
  virtual void add_gradients(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, LinearPass& pass) = 0;
};

}  // namespace millrace
