// How the matrix of a linear layer is stored, and the three products that read or train it.
//
// A layer asks its storage for products, never for the matrix, so that another storage (fp8, int8, four bits with a
// table) can unpack tiles inside the product. Letters: M rows (tokens), N outputs, K inputs; W is [N, K].
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace millrace {

class LinearWeight {
 public:
  virtual ~LinearWeight() = default;
  LinearWeight() = default;
  LinearWeight(const LinearWeight&) = delete;
  LinearWeight& operator=(const LinearWeight&) = delete;

  virtual int64_t in_features() const = 0;
  virtual int64_t out_features() const = 0;
  // The parameters that the layer registers, by name relative to the layer. FlatParameters gives them memory.
  virtual std::vector<std::pair<std::string, torch::Tensor>> tensors() const = 0;

  // out_MN = x_MK W^T.
  virtual void forward(torch::Tensor& out_MN, const torch::Tensor& x_MK) const = 0;
  // dx_MK = dy_MN W, or dx_MK += with accumulate.
  virtual void backward_input(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, bool accumulate) const = 0;
  // Adds dy_MN^T x_MK to the gradient of W. Does nothing for a frozen weight.
  virtual void backward_weight(const torch::Tensor& dy_MN, const torch::Tensor& x_MK) = 0;

  // W as one matrix [N, K] in the compute dtype, for kernels and joint products that accept nothing else. Undefined if
  // it is stored otherwise.
  virtual torch::Tensor dense() const { return {}; }
};

// W stored unchanged. Trained if `.grad()` is defined, which FlatParameters decides; frozen otherwise.
class DenseWeight : public LinearWeight {
 public:
  DenseWeight(int64_t in_features, int64_t out_features);

  int64_t in_features() const override { return weight_NK_.size(1); }
  int64_t out_features() const override { return weight_NK_.size(0); }
  std::vector<std::pair<std::string, torch::Tensor>> tensors() const override { return {{"weight", weight_NK_}}; }
  void forward(torch::Tensor& out_MN, const torch::Tensor& x_MK) const override;
  void backward_input(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, bool accumulate) const override;
  void backward_weight(const torch::Tensor& dy_MN, const torch::Tensor& x_MK) override;
  torch::Tensor dense() const override { return weight_NK_; }

 private:
  torch::Tensor weight_NK_;
};

}  // namespace millrace
