#include "nn/linear.h"

namespace millrace {

torch::Tensor unplaced_parameter(c10::IntArrayRef shape) {
  return torch::zeros({1}).expand(shape);
}

Linear::Linear(int64_t in_features, int64_t out_features, bool with_bias) {
  weight = register_parameter("weight", unplaced_parameter({out_features, in_features}), /*requires_grad=*/false);
  if (with_bias) bias = register_parameter("bias", unplaced_parameter({out_features}), /*requires_grad=*/false);
}

void linear_forward(torch::Tensor& out_MN, const torch::Tensor& x_MK, const torch::Tensor& weight_NK) {
  at::mm_out(out_MN, x_MK, weight_NK.t());
}

void linear_backward_input(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, const torch::Tensor& weight_NK,
                           bool accumulate) {
  if (accumulate) {
    dx_MK.addmm_(dy_MN, weight_NK);
  } else {
    at::mm_out(dx_MK, dy_MN, weight_NK);
  }
}

void linear_backward_weight(torch::Tensor dweight_NK, const torch::Tensor& dy_MN, const torch::Tensor& x_MK) {
  dweight_NK.addmm_(dy_MN.t(), x_MK);
}

void linear_backward_bias(torch::Tensor dbias_N, const torch::Tensor& dy_MN) {
  dbias_N.add_(dy_MN.sum(0, /*keepdim=*/false, torch::kFloat32).to(dbias_N.scalar_type()));
}

torch::Tensor linear(const Linear& layer, const torch::Tensor& x_MK) {
  return layer.bias.defined() ? at::addmm(layer.bias, x_MK, layer.weight.t()) : at::mm(x_MK, layer.weight.t());
}

torch::Tensor linear_backward(Linear& layer, const torch::Tensor& dy_MN, const torch::Tensor& x_MK) {
  if (layer.weight.grad().defined()) {
    linear_backward_weight(layer.weight.grad(), dy_MN, x_MK);
    if (layer.bias.defined()) linear_backward_bias(layer.bias.grad(), dy_MN);
  }
  return at::mm(dy_MN, layer.weight);
}

}  // namespace millrace
