// A part of a tensor, and where it lies in the whole tensor: what one rank of many saves and loads.
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
  // row-major order, which begins with element `offset` and has as many as `data`.
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
// A programmer's check that it lies inside its tensor and that `data` has its number of elements.
void check_piece(const NamedPiece& piece);

}  // namespace millrace
