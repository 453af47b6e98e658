// A part of a tensor, and its position in the whole tensor: the unit that one rank of many saves and loads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <torch/types.h>

#include "checkpoint/named_tensor.h"
#include "checkpoint/tensor_region.h"

namespace millrace {

struct NamedPiece {
  std::string name;                   // of the whole tensor
  std::vector<int64_t> global_shape;  // of the whole tensor
  // With `start`, a box: its first corner and its sizes, one per dimension. Without, a run of the tensor flattened in
  // row-major order, beginning at element `offset` and as long as `data`.
  int64_t offset = 0;
  std::vector<int64_t> start, shape;
  torch::Tensor data;  // of any shape with the piece's number of elements; written in row-major order
  // False where another rank saves the same elements: such a piece is loaded only.
  bool saved = true;

  bool is_box() const { return !start.empty(); }
};

// The whole of each tensor, as one rank alone saves it.
std::vector<NamedPiece> whole_pieces(const std::vector<NamedTensor>& tensors);

TensorRegion region_of(const NamedPiece& piece);
// MILLRACE_CHECKs that the piece lies inside its tensor and that `data` has its number of elements.
void check_piece(const NamedPiece& piece);

}  // namespace millrace
