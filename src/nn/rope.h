// Rotary position tables for several position axes (Su et al., RoFormer, arXiv 2104.09864; FLUX's axes).
#pragma once

#include <torch/types.h>

#include <vector>

namespace millrace {

struct RopeTable {
  // fp32, P = head_dim / 2 pairs: [L, P] when every sample of the batch has the same ids, else [B, L, P].
  torch::Tensor cos_LP, sin_LP;

  // The rows of tokens [begin, begin + tokens).
  RopeTable rows(int64_t begin, int64_t tokens) const;
};

// ids_BLA: positions on A axes (float or integer). axes_dim: how many channels of a head belong to each axis, all even.
// Angle j of axis a is id_a * theta^(-2j / axes_dim[a]); computed in fp64 and rounded once.
RopeTable rope_table(const torch::Tensor& ids_BLA, const std::vector<int64_t>& axes_dim, double theta);

// Gradient of the positions, [B, L, A], from that of the angles [B, L, P].
torch::Tensor rope_ids_gradient(const torch::Tensor& dangle_BLP, const std::vector<int64_t>& axes_dim, double theta);

}  // namespace millrace
