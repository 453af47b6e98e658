// Dropout of what an adapter reads, as PEFT's and torchtune's lora_dropout: y = x W^T + scale (drop(x) down^T) up^T,
// where drop() leaves each number out with a probability and divides the others by one minus it.
//
// A wrapper that a layer carries for one training pass. It keeps no mask: the numbers come from a stream that belongs
// to the pass, again in each of the three calls.
#pragma once

#include <memory>

#include "base/philox.h"
#include "nn/linear_adapter.h"

namespace millrace {

class InputDropout : public LinearAdapter {
 public:
  // adapter: additive, which DoRA is not. probability: from 0 to below 1.
  InputDropout(std::shared_ptr<LinearAdapter> adapter, double probability, const RandomStream& stream);

  void complete_forward(torch::Tensor& out_MN, const torch::Tensor& x_MK, LinearPass& pass) const override;
  void add_input_gradient(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, LinearPass& pass) const override;
  void add_gradients(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, LinearPass& pass) override;

  torch::Tensor drop(const torch::Tensor& x_MK) const;  // a new tensor

 private:
  std::shared_ptr<LinearAdapter> adapter_;
  double probability_;
  RandomStream stream_;
};

}  // namespace millrace
