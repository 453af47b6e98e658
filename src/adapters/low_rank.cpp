#include "adapters/low_rank.h"

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <tuple>

namespace millrace {
namespace {

constexpr int64_t kOversampling = 16;
constexpr int kPowerIterations = 4;
constexpr int64_t kDirectRatio = 8;  // a matrix this many ranks wide is projected first

torch::Tensor orthonormal(const torch::Tensor& matrix) {
  return std::get<0>(at::linalg_qr(matrix));
}

// From left diag(s) right to the pair of that rank.
LowRank pair_of(const torch::Tensor& left, const torch::Tensor& s, const torch::Tensor& right, int64_t rank) {
  const torch::Tensor kept = s.narrow(0, 0, rank), root = kept.sqrt();
  return {(right.narrow(0, 0, rank) * root.unsqueeze(1)).contiguous(), (left.narrow(1, 0, rank) * root).contiguous(),
          kept};
}

// The same directions whatever ran before.
torch::Tensor random_directions(int64_t rows, int64_t columns) {
  const at::Generator generator = at::detail::createCPUGenerator(/*seed=*/0);
  return at::randn({rows, columns}, generator);
}

}  // namespace

LowRank nearest_of_rank(const torch::Tensor& matrix_NK, int64_t rank) {
  const torch::Tensor matrix = matrix_NK.to(torch::kFloat32);
  const int64_t smaller = std::min(matrix.size(0), matrix.size(1));
  rank = std::min(rank, smaller);
  if (smaller <= kDirectRatio * (rank + kOversampling)) {
    const auto [left, s, right] = at::linalg_svd(matrix, /*full_matrices=*/false);
    return pair_of(left, s, right, rank);
  }
  torch::Tensor range = orthonormal(at::matmul(matrix, random_directions(matrix.size(1), rank + kOversampling)));
  for (int i = 0; i < kPowerIterations; ++i) {
    range = orthonormal(at::matmul(matrix, orthonormal(at::matmul(matrix.t(), range))));
  }
  const auto [left, s, right] = at::linalg_svd(at::matmul(range.t(), matrix), /*full_matrices=*/false);
  return pair_of(at::matmul(range, left), s, right, rank);
}

LowRank nearest_of_rank(const torch::Tensor& down_RK, const torch::Tensor& up_NR, int64_t rank) {
  // up down = Qu (Ru Rd^T) Qd^T: the matrix in the middle has the singular values.
  const auto [q_up, r_up] = at::linalg_qr(up_NR.to(torch::kFloat32));
  const auto [q_down, r_down] = at::linalg_qr(down_RK.to(torch::kFloat32).t());
  const auto [left, s, right] = at::linalg_svd(at::matmul(r_up, r_down.t()), /*full_matrices=*/false);
  return pair_of(at::matmul(q_up, left), s, at::matmul(right, q_down.t()), std::min(rank, s.size(0)));
}

}  // namespace millrace
