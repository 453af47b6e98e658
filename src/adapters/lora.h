// LoRA: y = x W^T + scale * (x down^T) up^T, with W frozen or not (Hu et al. 2021, arXiv 2106.09685).
//
// Shape letters: M rows, N outputs, K inputs of the layer; R rank, small beside both.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>

#include "nn/linear_adapter.h"

namespace millrace {

// Its two matrices get their memory, and their gradients where they are trained, from FlatParameters; those of all
// adapters of a model lie in FlatParameters of their own. They have the model's compute dtype.
class Lora : public torch::nn::Module, public LinearAdapter {
 public:
  // scale: alpha / rank.
  Lora(int64_t in_features, int64_t out_features, int64_t rank, double scale);

  // The up projection is added by the product itself, with beta = 1. pass: the scaled down projection's output [M, R]
  // and its gradient, R / N of the layer's activations.
  void complete_forward(torch::Tensor& out_MN, const torch::Tensor& x_MK, LinearPass& pass) const override;
  void add_input_gradient(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, LinearPass& pass) const override;
  void add_gradients(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, LinearPass& pass) override;

  // From the next pass on.
  void set_scale(double scale) { scale_ = scale; }

  torch::Tensor down_RK, up_NR;  // named "down" and "up"

 private:
  void compute_down(const torch::Tensor& x_MK, LinearPass& pass) const;
  void compute_ddown(const torch::Tensor& dy_MN, LinearPass& pass) const;

  double scale_;
};

}  // namespace millrace
