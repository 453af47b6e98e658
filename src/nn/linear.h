// A linear layer and its three GEMMs, written so that the caller owns every buffer.
//
// Shape letters: M rows (tokens), N outputs, K inputs.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

namespace millrace {

// Holds weight [N, K] and, unless told otherwise, bias [N]. Storage comes from FlatParameters; until then the tensors
// have a shape and no memory of their own. Gradients, when wanted, lie in `.grad()` of each and are added to.
struct Linear : torch::nn::Module {
  Linear(int64_t in_features, int64_t out_features, bool with_bias = true);

  torch::Tensor weight;
  torch::Tensor bias;  // undefined without one
};

// A tensor of the given shape that has no memory yet, for parameters that FlatParameters will place.
torch::Tensor unplaced_parameter(c10::IntArrayRef shape);

// While it lives, unplaced_parameter() gives tensors of the meta device on this thread: tensors cannot move there from
// another device. For models that are planned, not trained.
class MetaParameters {
 public:
  MetaParameters();
  ~MetaParameters();
  MetaParameters(const MetaParameters&) = delete;
  MetaParameters& operator=(const MetaParameters&) = delete;

 private:
  bool previous_;
};

// out_MN = x_MK * weight_NK^T. The bias is left to the op that reads out, which adds it in the same pass.
void linear_forward(torch::Tensor& out_MN, const torch::Tensor& x_MK, const torch::Tensor& weight_NK);

// dx_MK = dy_MN * weight_NK, or dx_MK += with accumulate.
void linear_backward_input(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, const torch::Tensor& weight_NK,
                           bool accumulate = false);

// dweight_NK += dy_MN^T * x_MK.
void linear_backward_weight(torch::Tensor dweight_NK, const torch::Tensor& dy_MN, const torch::Tensor& x_MK);

// dbias_N += the sum of dy_MN over its rows.
void linear_backward_bias(torch::Tensor dbias_N, const torch::Tensor& dy_MN);

// The whole layer, bias included, for places too small to schedule by hand.
torch::Tensor linear(const Linear& layer, const torch::Tensor& x_MK);
// Adds the layer's gradients and returns dx_MK, or nothing when nobody wants it.
torch::Tensor linear_backward(Linear& layer, const torch::Tensor& dy_MN, const torch::Tensor& x_MK,
                              bool wants_dx = true);

}  // namespace millrace
