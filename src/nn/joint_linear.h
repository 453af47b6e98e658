// Layers with the same input, computed as one product.
//
// If the layers' matrices are adjacent in memory, as FlatParameters places those of a packed unit, one large product
// replaces many small ones. Adapters are separate thin products on each layer's columns. Layers stored otherwise fall
// back to one product each; the results are the same up to rounding.
//
// Shape letters: M rows, K inputs, N outputs of all layers together.
#pragma once

#include <torch/types.h>

#include <memory>
#include <vector>

#include "nn/linear.h"

namespace millrace {

class JointLinear {
 public:
  explicit JointLinear(std::vector<std::shared_ptr<Linear>> layers);

  int64_t out_features() const { return out_features_; }
  bool is_adapted() const;

  // All layers' outputs side by side, [..., N], biases included, in layer order. No graph.
  torch::Tensor apply(const torch::Tensor& x) const;
  // The same, layer by layer: views of one product if there is no graph.
  std::vector<torch::Tensor> apply_each(const torch::Tensor& x) const;
  // Adds the gradients of trained parameters and returns dx_MK, or an undefined tensor unless wants_dx.
  torch::Tensor backward(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, bool wants_dx = true);

 private:
  // The layers can be one product: all dense and adjacent in memory.
  bool is_joint() const;
  torch::Tensor joint_product(const torch::Tensor& x) const;
  // The layers' matrices [N, K] and their biases [N] joined; undefined if that is impossible.
  torch::Tensor joint_weight() const;
  torch::Tensor joint_bias() const;
  // Each layer's columns of [..., N].
  std::vector<torch::Tensor> columns(const torch::Tensor& all) const;
  // The gradient of the layers' own products, see LinearAdapter::base_gradient.
  torch::Tensor base_gradient(const torch::Tensor& dy_MN) const;
  void add_gradients(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, std::vector<LinearPass>& passes);

  std::vector<std::shared_ptr<Linear>> layers_;
  int64_t out_features_ = 0;
  bool with_bias_ = false;
};

}  // namespace millrace
