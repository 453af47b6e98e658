#include "nn/plain_layers.h"

#include <ATen/CPUGeneratorImpl.h>

#include "base/text.h"

namespace millrace {

PlainLinear::PlainLinear(int64_t in, int64_t out, bool with_bias, const torch::TensorOptions& options) {
  weight = register_parameter("weight", torch::empty({out, in}, options));
  if (with_bias) bias = register_parameter("bias", torch::empty({out}, options));
}

PlainEmbedding::PlainEmbedding(int64_t count, int64_t dim, const torch::TensorOptions& options) {
  weight = register_parameter("weight", torch::empty({count, dim}, options));
}

PlainConv2d::PlainConv2d(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding,
                         const torch::TensorOptions& options)
    : stride_(stride), padding_(padding) {
  weight = register_parameter("weight", torch::empty({out, in, kernel, kernel}, options));
  bias = register_parameter("bias", torch::empty({out}, options));
}

torch::Tensor PlainConv2d::forward(const torch::Tensor& x_BCHW) const {
  return torch::conv2d(x_BCHW, weight, bias, stride_, padding_);
}

PlainLayerNorm::PlainLayerNorm(int64_t dim, double eps, const torch::TensorOptions& options) : eps_(eps) {
  weight = register_parameter("weight", torch::empty({dim}, options));
  bias = register_parameter("bias", torch::empty({dim}, options));
}

torch::Tensor PlainLayerNorm::forward(const torch::Tensor& x) const {
  return torch::layer_norm(x, {weight.size(0)}, weight, bias, eps_);
}

PlainRmsNorm::PlainRmsNorm(int64_t dim, double eps, const torch::TensorOptions& options) : eps_(eps) {
  weight = register_parameter("weight", torch::empty({dim}, options));
}

torch::Tensor PlainRmsNorm::forward(const torch::Tensor& x) const {
  return torch::rms_norm(x, {weight.size(0)}, weight, eps_);
}

PlainGroupNorm::PlainGroupNorm(int64_t groups, int64_t channels, double eps, const torch::TensorOptions& options)
    : groups_(groups), eps_(eps) {
  weight = register_parameter("weight", torch::empty({channels}, options));
  bias = register_parameter("bias", torch::empty({channels}, options));
}

torch::Tensor PlainGroupNorm::forward(const torch::Tensor& x_BCHW) const {
  return torch::group_norm(x_BCHW, groups_, weight, bias, eps_);
}

void init_normal(torch::nn::Module& module, double std, uint64_t seed) {
  torch::NoGradGuard no_grad;
  at::Generator generator = at::detail::createCPUGenerator(seed);
  for (auto& item : module.named_parameters()) {
    torch::Tensor& parameter = item.value();
    if (parameter.dim() >= 2) {
      parameter.copy_(torch::empty(parameter.sizes(), torch::kFloat32).normal_(0.0, std, generator));
    } else {
      parameter.fill_(ends_with(item.key(), "bias") ? 0.0 : 1.0);
    }
  }
}

}  // namespace millrace
