#include "kernels/qk_norm_rope/qk_norm_rope.h"

namespace millrace {
namespace {

using torch::Tensor;

// Statistics in fp32 for every type, as in torch.nn.RMSNorm; rounded once.
Tensor rms_norm(const Tensor& x_BHLD, const Tensor& scale_D, double eps) {
  const auto compute = x_BHLD.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  const Tensor x = x_BHLD.to(compute);
  const Tensor normed = x * torch::rsqrt(x.square().mean(-1, /*keepdim=*/true) + eps) * scale_D.to(compute);
  return normed.to(x_BHLD.dtype());
}

Tensor rotate(const Tensor& x_BHLD, const Tensor& cos_BLP, const Tensor& sin_BLP) {
  const auto compute = x_BHLD.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  const Tensor pairs = x_BHLD.to(compute).unflatten(-1, std::vector<int64_t>{-1, 2});
  const Tensor a = pairs.select(-1, 0), b = pairs.select(-1, 1);
  const Tensor cos = cos_BLP.unsqueeze(-3), sin = sin_BLP.unsqueeze(-3);  // one rotation for all heads
  return torch::stack({cos * a - sin * b, sin * a + cos * b}, -1).flatten(-2).to(x_BHLD.dtype());
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> qk_norm_rope_reference(const Tensor& qkv_BLE, const Tensor& bias_E,
                                                          const Tensor& q_scale_D, const Tensor& k_scale_D,
                                                          const Tensor& cos_LP, const Tensor& sin_LP, int64_t num_heads,
                                                          double eps) {
  const int64_t width = 3 * num_heads * q_scale_D.size(0);
  Tensor qkv = qkv_BLE.narrow(-1, 0, width);
  if (bias_E.defined()) qkv = qkv + bias_E.to(qkv.dtype());
  const Tensor qkv_3BHLD = qkv.unflatten(-1, std::vector<int64_t>{3, num_heads, -1}).permute({2, 0, 3, 1, 4});
  return {rotate(rms_norm(qkv_3BHLD[0], q_scale_D, eps), cos_LP, sin_LP),
          rotate(rms_norm(qkv_3BHLD[1], k_scale_D, eps), cos_LP, sin_LP), qkv_3BHLD[2]};
}

}  // namespace millrace
