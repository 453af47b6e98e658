// Host copies of tensors, so that training goes on while they are written.
#pragma once

#include <cstdint>
#include <vector>

#include <torch/types.h>

#include "checkpoint/named_piece.h"

namespace millrace {

class HostStaging {
 public:
  // Copies the data of all pieces and returns them with the copies, which stay valid until the next call. The memory is
  // kept and reused, pinned for tensors of a GPU. Data that `keep_in_place` allows, contiguous on the CPU, is passed on
  // as it is.
  std::vector<NamedPiece> copy(const std::vector<NamedPiece>& pieces, bool keep_in_place = false);

  // Takes the memory that copy() of these pieces will need, so that the first copy is as fast as the others.
  void reserve(const std::vector<NamedPiece>& pieces);

 private:
  void reserve_bytes(int64_t num_bytes, bool pinned);

  torch::Tensor memory_;  // uint8
};

}  // namespace millrace
