// Host copies of tensors, so that training continues while they are written.
#pragma once

#include <cstdint>
#include <vector>

#include <torch/types.h>

#include "checkpoint/named_piece.h"

namespace millrace {

class HostStaging {
 public:
  // Copies the data of all pieces to be saved and returns the pieces with the copies, which stay valid until the next
  // call. The memory is kept and reused, and pinned for tensors on a GPU.
  std::vector<NamedPiece> copy(const std::vector<NamedPiece>& pieces);

  // The host memory that copy() of these pieces takes.
  static uint64_t bytes_for(const std::vector<NamedPiece>& pieces);

  // Allocates the memory that copy() of these pieces will need, so that the first copy is as fast as later ones.
  void reserve(const std::vector<NamedPiece>& pieces);

 private:
  // Makes take() give out memory for pieces of these sizes, in this order.
  void prepare(const std::vector<int64_t>& sizes, bool pinned);
  torch::Tensor take(int64_t num_bytes);

  std::vector<torch::Tensor> slabs_;  // uint8
  size_t slab_ = 0;                   // from which take() takes
  int64_t taken_ = 0;                 // of that slab
};

}  // namespace millrace
