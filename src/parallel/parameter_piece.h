// The parts of a model in one rank's flat buffers, in terms of the whole tensors: the pieces of checkpoints.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <torch/types.h>

#include "parallel/flat_layout.h"

namespace millrace {

// Either a run of the flattened whole tensor (shape is empty) or a box of a matrix.
struct ParameterPiece {
  std::string name;
  std::vector<int64_t> global_shape;
  int64_t offset = 0;                 // run: its first element in the flattened whole tensor
  std::vector<int64_t> start, shape;  // box: its corner and size in the whole tensor
  int64_t begin = 0;                  // the first element in the rank's flat buffers
  int64_t size = 0;                   // elements
  int64_t row_stride = 0;             // box: elements from one of its rows to the next in the flat buffers
  // This rank represents the piece. False if the tp axis holds equal copies and another rank represents it: then this
  // rank loads the piece, but the other one saves it and counts it in norms.
  bool primary = true;

  bool is_box() const { return !shape.empty(); }
  // The piece within a flat buffer: [size], or the box's shape with rows row_stride apart.
  torch::Tensor view(const torch::Tensor& flat) const;
};

// The pieces of one parameter in this rank's buffers; few, or none.
std::vector<ParameterPiece> pieces_of(const FlatLayout& layout, const ParameterSlice& slice);

}  // namespace millrace
