#include "nn/timestep_embedding.h"

#include <cmath>

namespace millrace {
namespace {

constexpr double kTimeFactor = 1000.0;

torch::Tensor frequencies(int64_t half, torch::Device device) {
  const auto options = torch::TensorOptions().dtype(torch::kFloat32).device(device);
  return at::exp(-std::log(10000.0) * torch::arange(0, half, options) / static_cast<double>(half));
}

torch::Tensor arguments(const torch::Tensor& t_B, int64_t half) {
  return (t_B.to(torch::kFloat32) * kTimeFactor).unsqueeze(1) * frequencies(half, t_B.device()).unsqueeze(0);
}

}  // namespace

torch::Tensor timestep_embedding(const torch::Tensor& t_B, int64_t dim) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor args_BF = arguments(t_B, dim / 2);
  return at::cat({at::cos(args_BF), at::sin(args_BF)}, 1);
}

torch::Tensor timestep_embedding_backward(const torch::Tensor& dembedding_BD, const torch::Tensor& t_B) {
  const torch::NoGradGuard no_grad;
  const int64_t half = dembedding_BD.size(1) / 2;
  const torch::Tensor args_BF = arguments(t_B, half), d_BD = dembedding_BD.to(torch::kFloat32);
  const torch::Tensor dargs_BF =
      d_BD.narrow(1, half, half) * at::cos(args_BF) - d_BD.narrow(1, 0, half) * at::sin(args_BF);
  return kTimeFactor * (dargs_BF * frequencies(half, t_B.device()).unsqueeze(0)).sum(1);
}

}  // namespace millrace
