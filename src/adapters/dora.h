// DoRA (Liu et al. 2024, arXiv 2402.09353): the rows of W + scale up down at trained lengths,
//   y = (x (W + scale up down)^T) * factor,   factor = magnitude / |W + scale up down|, the norm of each row.
//
// The norm is a constant of the backward pass, as the paper proposes in its section 4.3. It never takes a matrix of its
// own: |W_n + s B_n A|^2 = |W_n|^2 + 2 s B_n (A W_n^T) + s^2 B_n (A A^T) B_n^T.
//
// Where ranks share the layer by its outputs, each has its rows' norms. Where they share it by its inputs, a norm is
// over all ranks: its square is the sum of theirs.
//
// One of some of the layer's outputs alone (q of a layer that has q, k and v) takes the norms of their rows.
//
// Letters: M rows, N outputs, K inputs of the layer; R rank.
#pragma once

#include "adapters/lora.h"
#include "comm/group.h"
#include "nn/linear_weight.h"

namespace millrace {

class Dora : public Lora {
 public:
  // weight: of the layer that it will be put on; it must live as long and stay as it is, frozen. scale: alpha / rank.
  // inputs: the ranks that share the layer's inputs; null: this rank has them all.
  Dora(const LinearWeight& weight, int64_t rank, double scale, Group* inputs = nullptr);
  // Adapts only the layer's outputs [row_begin, row_begin + rows).
  Dora(const LinearWeight& weight, int64_t row_begin, int64_t rows, int64_t rank, double scale,
       Group* inputs = nullptr);

  void complete_forward(torch::Tensor& out_MN, const torch::Tensor& x_MK, LinearPass& pass) const override;
  // These three use the factor of the latest forward pass.
  torch::Tensor base_gradient(const torch::Tensor& dy_MN) const override;
  void add_input_gradient(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, LinearPass& pass) const override;
  // The magnitude's gradient needs the output before the factor, which is computed again: one product of the layer.
  void add_gradients(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, LinearPass& pass) override;

  // fp32 [N]: the norms of the rows of W + scale up down. The layer's weight must have memory. Collective where ranks
  // share the inputs, as the forward pass is.
  torch::Tensor row_norms() const;

  torch::Tensor magnitude_N;  // named "magnitude"

 private:
  double product_strength() const override { return 1; }       // the strength is that of the whole, length included
  torch::Tensor own_product(const torch::Tensor& x_MK) const;  // [M, N] of the layer's weight

  const LinearWeight& weight_;
  int64_t row_begin_;
  Group* inputs_;
  mutable torch::Tensor factor_N_, norm_N_;  // fp32
};

// fp32 [N]: the norms of the rows of a weight, with which a magnitude starts. options: of the layer's activations.
torch::Tensor row_norms_of(const LinearWeight& weight, const torch::TensorOptions& options, Group* inputs = nullptr);

}  // namespace millrace
