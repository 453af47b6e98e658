#include "nn/linear.h"

#include "nn/gemm.h"

namespace millrace {

namespace {

thread_local bool parameters_on_meta = false;

}  // namespace

MetaParameters::MetaParameters() : previous_(parameters_on_meta) {
  parameters_on_meta = true;
}

MetaParameters::~MetaParameters() {
  parameters_on_meta = previous_;
}

torch::Tensor unplaced_parameter(c10::IntArrayRef shape) {
  return torch::zeros({1}, parameters_on_meta ? torch::kMeta : torch::kCPU).expand(shape);
}

Linear::Linear(int64_t in_features, int64_t out_features, bool with_bias) {
  weight = register_parameter("weight", unplaced_parameter({out_features, in_features}), /*requires_grad=*/false);
  if (with_bias) bias = register_parameter("bias", unplaced_parameter({out_features}), /*requires_grad=*/false);
}

void linear_forward(torch::Tensor& out_MN, const torch::Tensor& x_MK, const torch::Tensor& weight_NK) {
  gemm(out_MN, x_MK, weight_NK.t());
}

void linear_backward_input(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, const torch::Tensor& weight_NK,
                           bool accumulate) {
  gemm(dx_MK, dy_MN, weight_NK, accumulate);
}

void linear_backward_weight(torch::Tensor dweight_NK, const torch::Tensor& dy_MN, const torch::Tensor& x_MK) {
  gemm(dweight_NK, dy_MN.t(), x_MK, /*accumulate=*/true);
}

void linear_backward_bias(torch::Tensor dbias_N, const torch::Tensor& dy_MN) {
  dbias_N.add_(dy_MN.sum(0, /*keepdim=*/false, torch::kFloat32).to(dbias_N.scalar_type()));
}

torch::Tensor linear(const Linear& layer, const torch::Tensor& x_MK) {
  return matrix_product(x_MK, layer.weight.t(), layer.bias);
}

torch::Tensor linear_backward(Linear& layer, const torch::Tensor& dy_MN, const torch::Tensor& x_MK, bool wants_dx) {
  if (layer.weight.grad().defined()) {
    linear_backward_weight(layer.weight.grad(), dy_MN, x_MK);
    if (layer.bias.defined()) linear_backward_bias(layer.bias.grad(), dy_MN);
  }
  return wants_dx ? matrix_product(dy_MN, layer.weight) : torch::Tensor();
}

}  // namespace millrace
