// LoRA: y = x W^T + scale * (x down^T) up^T, with W frozen or not (Hu et al. 2021, arXiv 2106.09685).
//
// Shape letters: M rows, N outputs, K inputs of the layer; R rank, small beside both; B samples.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>

#include "nn/linear_adapter.h"

namespace millrace {

// FlatParameters gives its two matrices memory and, where they are trained, gradients. All adapters of a model share
// one FlatParameters, separate from the model's. Both matrices have the model's compute dtype.
class Lora : public torch::nn::Module, public LinearAdapter {
 public:
  // scale: alpha / rank.
  Lora(int64_t in_features, int64_t out_features, int64_t rank, double scale);

  // The up projection is added by the product itself, with beta = 1. pass: the scaled down projection's output [M, R]
  // and its gradient, R / N of the layer's activations.
  void complete_forward(torch::Tensor& out_MN, const torch::Tensor& x_MK, LinearPass& pass) const override;
  void add_input_gradient(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, LinearPass& pass) const override;
  void add_gradients(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, LinearPass& pass) override;

  // Used from the next pass on, forward and backward: the factors on the down projection's output, [M, R] one
  // for each number (dropout) or [B, R] one for each sample's rank, whose rows follow each other (rank dropout). They
  // hold the 1 / (1 - p). Undefined: none.
  void set_mask(torch::Tensor mask) { mask_ = std::move(mask); }
  // The factor on the adapter's contribution: 0 leaves the layer unchanged (module dropout; the base model's own
  // prediction).
  void set_strength(double strength) { strength_ = strength; }

  torch::Tensor down_RK, up_NR;  // named "down" and "up"

 protected:
  double scale() const { return scale_; }

 private:
  void compute_down(const torch::Tensor& x_MK, LinearPass& pass) const;
  void compute_ddown(const torch::Tensor& dy_MN, LinearPass& pass) const;
  void scale_and_mask(torch::Tensor& t_MR) const;

  double scale_, strength_ = 1;
  torch::Tensor mask_;
};

}  // namespace millrace
