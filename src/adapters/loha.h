// LoHa: W + scale (w1_a w1_b) * (w2_a w2_b), the elementwise product of two matrices of low rank, hence one of a rank
// of up to R^2 (Hyeon-Woo et al. 2022, arXiv 2108.06098; LyCORIS, arXiv 2309.14859).
//
// Letters: M rows, N outputs, K inputs of the layer; R rank.
#pragma once

#include <torch/types.h>

#include "adapters/module_adapter.h"

namespace millrace {

// Parameters as Lora's. The change of the weight is made for each product and kept nowhere.
class Loha : public ModuleAdapter {
 public:
  Loha(int64_t in_features, int64_t out_features, int64_t rank, double scale);

  void complete_forward(torch::Tensor& out_MN, const torch::Tensor& x_MK, LinearPass& pass) const override;
  void add_input_gradient(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, LinearPass& pass) const override;
  void add_gradients(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, LinearPass& pass) override;

  torch::Tensor w1_a_NR, w1_b_RK, w2_a_NR, w2_b_RK;  // named without the letters

 private:
  torch::Tensor change_NK() const;

  double scale_;
};

}  // namespace millrace
