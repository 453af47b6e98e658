// LoKr: W + scale (w1 kron w2), a Kronecker product, whose factors may each be a product of two thin matrices (LyCORIS,
// Yeh et al. 2023, arXiv 2309.14859).
//
// Letters: M rows, N = A P outputs, K = B Q inputs of the layer; w1 is [A, B] and w2 [P, Q]. Row a P + p and column
// b Q + q of the product is w1[a, b] w2[p, q].
#pragma once

#include <torch/types.h>

#include "adapters/lokr_sizes.h"
#include "adapters/module_adapter.h"

namespace millrace {

// Parameters as Lora's. The product is never made: inputs go through w2 in pieces of Q, and w1 mixes the pieces.
class Lokr : public ModuleAdapter {
 public:
  // A whole factor is one parameter ("w1"), a product two ("w1_a", "w1_b").
  using Factor = LokrFactor;
  Lokr(const Factor& w1, const Factor& w2, double scale);

  void complete_forward(torch::Tensor& out_MN, const torch::Tensor& x_MK, LinearPass& pass) const override;
  void add_input_gradient(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, LinearPass& pass) const override;
  void add_gradients(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, LinearPass& pass) override;

 private:
  struct Matrix {
    torch::Tensor whole, a, b;  // whole, or a and b
    torch::Tensor value() const;
    bool is_trained() const;
    void add_gradient(const torch::Tensor& gradient);
  };
  Matrix make_matrix(const std::string& name, const Factor& factor);
  torch::Tensor through_w2(const torch::Tensor& x_MK) const;           // [M, B, P]
  torch::Tensor gradient_before_w1(const torch::Tensor& dy_MN) const;  // [M, B, P], scaled

  double scale() const { return scale_ * strength(); }

  Factor w1_sizes_, w2_sizes_;
  Matrix w1_, w2_;
  double scale_;
};

}  // namespace millrace
