#include "nn/linear.h"

#include "base/error.h"
#include "nn/linear_graph.h"
#include "nn/linear_rows.h"

namespace millrace {

Linear::Linear(int64_t in_features, int64_t out_features, bool with_bias)
    : Linear(std::make_unique<DenseWeight>(in_features, out_features), with_bias) {}

Linear::Linear(std::unique_ptr<LinearWeight> weight, bool with_bias) : weight_(std::move(weight)) {
  for (const auto& [name, tensor] : weight_->tensors()) register_parameter(name, tensor, /*requires_grad=*/false);
  if (!with_bias) return;
  bias_N_ = register_parameter("bias", unplaced_parameter({out_features()}), /*requires_grad=*/false);
}

void Linear::set_weight(std::unique_ptr<LinearWeight> weight) {
  MILLRACE_CHECK(weight->in_features() == in_features() && weight->out_features() == out_features());
  for (const auto& [name, tensor] : weight_->tensors()) parameters_.erase(name);
  weight_ = std::move(weight);
  for (const auto& [name, tensor] : weight_->tensors()) register_parameter(name, tensor, /*requires_grad=*/false);
}

void Linear::forward(torch::Tensor& out_MN, const torch::Tensor& x_MK, LinearPass* pass) const {
  weight_->forward(out_MN, x_MK);
  if (!adapter_) return;
  LinearPass unkept;
  adapter_->complete_forward(out_MN, x_MK, pass ? *pass : unkept);
}

void Linear::backward_input(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, bool accumulate, LinearPass* pass) const {
  weight_->backward_input(dx_MK, adapter_ ? adapter_->base_gradient(dy_MN) : dy_MN, accumulate);
  if (!adapter_) return;
  LinearPass unkept;
  adapter_->add_input_gradient(dx_MK, dy_MN, pass ? *pass : unkept);
}

void Linear::backward_weight(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, LinearPass* pass) {
  weight_->backward_weight(adapter_ ? adapter_->base_gradient(dy_MN) : dy_MN, x_MK);
  if (!adapter_) return;
  LinearPass unkept;
  adapter_->add_gradients(dy_MN, x_MK, pass ? *pass : unkept);
}

torch::Tensor Linear::apply(const torch::Tensor& x, const torch::Tensor& residual) {
  if (const torch::Tensor weight_NK = plain_weight(); weight_NK.defined()) {
    return linear_rows(x, weight_NK, bias_N_, residual);
  }
  if (at::GradMode::is_enabled()) {
    const torch::Tensor y = linear_with_graph(*this, x);
    return residual.defined() ? residual + y : y;
  }
  const torch::Tensor x_MK = x.flatten(0, -2);
  torch::Tensor out_MN = torch::empty({x_MK.size(0), out_features()}, x.options());
  forward(out_MN, x_MK);
  if (bias_N_.defined()) out_MN.add_(bias_N_);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = out_features();
  const torch::Tensor y = out_MN.view(shape);
  return residual.defined() ? residual + y : y;
}

torch::Tensor Linear::backward(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, bool wants_dx) {
  LinearPass pass;
  backward_weight(dy_MN, x_MK, &pass);
  if (const torch::Tensor dbias_N = bias_gradient(); dbias_N.defined()) add_bias_gradient(dbias_N, dy_MN);
  if (!wants_dx) return {};
  torch::Tensor dx_MK = torch::empty({dy_MN.size(0), in_features()}, dy_MN.options());
  backward_input(dx_MK, dy_MN, /*accumulate=*/false, &pass);
  return dx_MK;
}

void add_bias_gradient(torch::Tensor dbias_N, const torch::Tensor& dy_MN) {
  dbias_N.add_(dy_MN.sum(0, /*keepdim=*/false, torch::kFloat32).to(dbias_N.scalar_type()));
}

}  // namespace millrace
