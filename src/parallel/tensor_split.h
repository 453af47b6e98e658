// How tensor parallelism splits one weight, as data.
//
// A weight consists of groups along one dimension: q, k and v of a fused projection, say. Every rank holds its share of
// each group, concatenated, so that its part works like the whole with fewer heads.
#pragma once

#include <cstdint>
#include <vector>

#include <torch/types.h>

namespace millrace {

struct TensorSplit {
  int64_t dim = -1;             // 0 rows, 1 columns; -1: every rank holds the whole
  std::vector<int64_t> groups;  // sizes along dim in the whole tensor; their shares: tensor_share.h

  bool is_whole() const { return dim < 0; }
};

// The share of one rank among `parts` ranks of the tp axis.
struct TensorPart {
  TensorSplit split;
  int parts = 1;
  int index = 0;

  bool is_whole() const { return parts == 1 || split.is_whole(); }
  std::vector<int64_t> shape(std::vector<int64_t> global_shape) const;
  // The shape of the whole from that of a part.
  std::vector<int64_t> global_shape(std::vector<int64_t> part_shape) const;
  // The part of a whole tensor; shares its memory if possible.
  torch::Tensor of(const torch::Tensor& whole) const;
};

}  // namespace millrace
