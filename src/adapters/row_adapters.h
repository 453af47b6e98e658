// Adapters of parts of a layer's outputs: of q, k and v, say, where one layer computes all three.
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <vector>

#include "nn/linear_adapter.h"

namespace millrace {

// Each completes its own columns of the layer's product; columns of none stay as they are. Those that share columns add
// up. Nothing is kept in a pass: what the parts would keep is computed again, which costs a product of their rank.
class RowAdapters : public LinearAdapter {
 public:
  struct Part {
    int64_t begin = 0, size = 0;  // of the layer's outputs
    std::shared_ptr<LinearAdapter> adapter;
  };
  explicit RowAdapters(std::vector<Part> parts) : parts_(std::move(parts)) {}

  void complete_forward(torch::Tensor& out_MN, const torch::Tensor& x_MK, LinearPass& pass) const override;
  torch::Tensor base_gradient(const torch::Tensor& dy_MN) const override;
  void add_input_gradient(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, LinearPass& pass) const override;
  void add_gradients(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, LinearPass& pass) override;

 private:
  std::vector<Part> parts_;
};

}  // namespace millrace
