#include "checkpoint/piece_cover.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/log.h"

namespace millrace {
namespace {

// Boxes are compared pair by pair; no mesh splits one tensor into more.
constexpr size_t kMaxBoxes = 4096;

[[noreturn]] void fail(const std::string& place, const std::string& got) {
  throw StorageError(str("[", place, "] expected pieces that cover the tensor exactly once, got ", got));
}

void check_runs(const std::string& place, const CheckpointTensor& tensor, int64_t num_elements) {
  std::vector<std::pair<int64_t, int64_t>> runs;  // begin, end
  for (const CheckpointPiece& piece : tensor.pieces) {
    const int64_t size = checked_num_elements(place, piece.shape);
    if (piece.offset > num_elements - size) fail(place, "one that ends behind it");
    runs.emplace_back(piece.offset, piece.offset + size);
  }
  std::sort(runs.begin(), runs.end());
  int64_t covered = 0;
  for (const auto& [begin, end] : runs) {
    if (begin != covered) fail(place, begin < covered ? "overlapping ones" : "a gap");
    covered = end;
  }
  if (covered != num_elements) fail(place, "a gap");
}

bool overlap(const CheckpointPiece& a, const CheckpointPiece& b) {
  for (size_t dim = 0; dim < a.start.size(); ++dim) {
    if (a.start[dim] + a.shape[dim] <= b.start[dim] || b.start[dim] + b.shape[dim] <= a.start[dim]) return false;
  }
  return true;
}

void check_boxes(const std::string& place, const CheckpointTensor& tensor, int64_t num_elements) {
  const size_t num_dims = tensor.shape.size();
  if (tensor.pieces.size() > kMaxBoxes) fail(place, str(tensor.pieces.size(), " boxes"));
  int64_t covered = 0;
  for (size_t i = 0; i < tensor.pieces.size(); ++i) {
    const CheckpointPiece& piece = tensor.pieces[i];
    if (piece.start.size() != num_dims || piece.shape.size() != num_dims) fail(place, "one of another rank");
    for (size_t dim = 0; dim < num_dims; ++dim) {
      if (piece.shape[dim] == 0 || piece.shape[dim] > tensor.shape[dim] ||
          piece.start[dim] > tensor.shape[dim] - piece.shape[dim]) {
        fail(place, "one that is empty or reaches out of it");
      }
    }
    for (size_t j = 0; j < i; ++j) {
      if (overlap(piece, tensor.pieces[j])) fail(place, "overlapping ones");
    }
    covered += checked_num_elements(place, piece.shape);
  }
  if (covered != num_elements) fail(place, "a gap");
}

}  // namespace

void check_cover(const std::string& place, const CheckpointTensor& tensor) {
  const int64_t num_elements = checked_num_elements(place, tensor.shape);
  const auto is_box = [](const CheckpointPiece& piece) { return !piece.start.empty(); };
  const auto num_boxes = std::count_if(tensor.pieces.begin(), tensor.pieces.end(), is_box);
  if (num_boxes == 0) {
    check_runs(place, tensor, num_elements);
  } else if (num_boxes == static_cast<std::ptrdiff_t>(tensor.pieces.size())) {
    check_boxes(place, tensor, num_elements);
  } else {
    fail(place, "runs and boxes together");
  }
}

}  // namespace millrace
