#include "checkpoint/named_piece.h"

#include "base/error.h"
#include "formats/safetensors.h"

namespace millrace {

std::vector<NamedPiece> whole_pieces(const std::vector<NamedTensor>& tensors) {
  std::vector<NamedPiece> pieces;
  for (const auto& [name, tensor] : tensors) pieces.push_back({name, tensor.sizes().vec(), 0, {}, {}, tensor});
  return pieces;
}

TensorRegion region_of(const NamedPiece& piece) {
  return {piece.offset, piece.data.numel(), piece.start, piece.shape};
}

void check_piece(const NamedPiece& piece) {
  if (!piece.is_box()) {
    MILLRACE_CHECK(piece.offset >= 0 && piece.offset + piece.data.numel() <= element_count(piece.global_shape));
    return;
  }
  MILLRACE_CHECK(piece.start.size() == piece.global_shape.size() && piece.shape.size() == piece.start.size());
  for (size_t dim = 0; dim < piece.start.size(); ++dim) {
    MILLRACE_CHECK(piece.start[dim] >= 0 && piece.shape[dim] >= 0);
    MILLRACE_CHECK(piece.start[dim] + piece.shape[dim] <= piece.global_shape[dim]);
  }
  MILLRACE_CHECK(piece.data.numel() == element_count(piece.shape));
}

}  // namespace millrace
