// LoRA: y = x W^T + scale * (x down^T) up^T, with W frozen or not (Hu et al. 2021, arXiv 2106.09685).
//
// Shape letters: M rows, N outputs, K inputs of the layer; R rank, small beside both; B samples.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "adapters/module_adapter.h"
#include "base/philox.h"

namespace millrace {

// FlatParameters gives its two matrices memory and, where they are trained, gradients. All adapters of a model share
// one FlatParameters, separate from the model's. Both matrices have the model's compute dtype.
class Lora : public ModuleAdapter {
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
  // Drops numbers of the down projection's output with this probability, those of each sample by its own stream, and
  // divides the others by 1 - p. Used from the next pass on, until a call without streams.
  void set_dropout(double probability, std::vector<RandomStream> streams_B) {
    dropout_ = probability;
    streams_B_ = std::move(streams_B);
  }

  torch::Tensor down_RK, up_NR;  // named "down" and "up"

 protected:
  double scale() const { return scale_; }
  // The strength that the product of the two matrices is multiplied by.
  virtual double product_strength() const { return strength(); }

 private:
  void compute_down(const torch::Tensor& x_MK, LinearPass& pass) const;
  void compute_ddown(const torch::Tensor& dy_MN, LinearPass& pass) const;
  void scale_and_mask(torch::Tensor& t_MR) const;

  double scale_, dropout_ = 0;
  std::vector<RandomStream> streams_B_;
  torch::Tensor mask_;
};

}  // namespace millrace
