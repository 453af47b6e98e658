#include "kernels/rms_norm/rms_norm.h"

namespace millrace {

torch::Tensor rms_norm_reference(const torch::Tensor& x_BLD, const torch::Tensor& weight_D, double eps) {
  const torch::Tensor x = x_BLD.scalar_type() == torch::kBFloat16 ? x_BLD.to(torch::kFloat32) : x_BLD;
  const torch::Tensor normed_BLD = x * torch::rsqrt(x.square().mean(-1, /*keepdim=*/true) + eps);
  return normed_BLD.to(x_BLD.scalar_type()) * weight_D.to(x_BLD.scalar_type());
}

std::pair<torch::Tensor, torch::Tensor> add_rms_norm_reference(const torch::Tensor& x_BLD,
                                                               const torch::Tensor& branch_BLD,
                                                               const torch::Tensor& weight_D, double eps) {
  const torch::Tensor sum_BLD = x_BLD + branch_BLD;
  return {sum_BLD, rms_norm_reference(sum_BLD, weight_D, eps)};
}

}  // namespace millrace
