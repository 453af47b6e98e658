#include "parallel/parameter_piece.h"

#include <algorithm>

#include "base/error.h"
#include "parallel/tensor_share.h"

namespace millrace {
namespace {

// Splits by rows: each group's share is one run of the whole tensor.
void add_runs(const ParameterPiece& like, const TensorPart& part, const OwnRange& own,
              std::vector<ParameterPiece>& pieces) {
  const int64_t dim_size = like.global_shape[0];
  int64_t row_size = 1;
  for (size_t i = 1; i < like.global_shape.size(); ++i) row_size *= like.global_shape[i];
  int64_t whole_row = 0, part_begin = 0;
  for (const int64_t group : part.split.groups) {
    const TensorShare share = share_of(part, group);
    const int64_t begin = std::max(own.begin, part_begin), end = std::min(own.end, part_begin + share.size * row_size);
    if (begin < end) {
      ParameterPiece piece = like;
      piece.offset = (whole_row + share.begin) * row_size + begin - part_begin;
      piece.begin = own.local + begin - own.begin;
      piece.size = end - begin;
      pieces.push_back(std::move(piece));
    }
    whole_row += group;
    part_begin += share.size * row_size;
  }
  MILLRACE_CHECK(whole_row == dim_size);
}

// Rows [first, last) and columns [left, right) of this rank's part of a matrix that is split by columns. The part's row
// `first` starts at `local`, which may lie before this rank's buffers if left is not the row's start.
void add_boxes(const ParameterPiece& like, const TensorPart& part, int64_t columns, int64_t first, int64_t last,
               int64_t left, int64_t right, int64_t local, std::vector<ParameterPiece>& pieces) {
  if (first >= last) return;
  int64_t whole_column = 0, part_column = 0;
  for (const int64_t group : part.split.groups) {
    const TensorShare share = share_of(part, group);
    const int64_t begin = std::max(left, part_column), end = std::min(right, part_column + share.size);
    if (begin < end) {
      ParameterPiece piece = like;
      piece.start = {first, whole_column + share.begin + begin - part_column};
      piece.shape = {last - first, end - begin};
      piece.begin = local + begin;
      piece.size = (last - first) * (end - begin);
      piece.row_stride = columns;
      pieces.push_back(std::move(piece));
    }
    whole_column += group;
    part_column += share.size;
  }
}

// Splits by columns: a rank's range of the flattened part is the end of a row, whole rows, and the start of a row.
void add_column_split(const ParameterPiece& like, const TensorPart& part, const OwnRange& own,
                      std::vector<ParameterPiece>& pieces) {
  const int64_t columns = part.shape(like.global_shape)[1];
  const auto boxes = [&](int64_t first, int64_t last, int64_t left, int64_t right) {
    add_boxes(like, part, columns, first, last, left, right, own.local + first * columns - own.begin, pieces);
  };
  const int64_t first = own.begin / columns, last = own.end / columns;  // last: the row that own.end cuts or starts
  const int64_t left = own.begin % columns, right = own.end % columns;
  if (first == last) return boxes(first, first + 1, left, right);
  if (left > 0) boxes(first, first + 1, left, columns);
  boxes(left > 0 ? first + 1 : first, last, 0, columns);
  if (right > 0) boxes(last, last + 1, 0, right);
}

}  // namespace

torch::Tensor ParameterPiece::view(const torch::Tensor& flat) const {
  if (!is_box()) return flat.narrow(0, begin, size);
  return flat.as_strided(shape, {row_stride, 1}, flat.storage_offset() + begin);
}

std::vector<ParameterPiece> pieces_of(const FlatLayout& layout, const ParameterSlice& slice) {
  const OwnRange own = layout.own_range(slice);
  std::vector<ParameterPiece> pieces;
  if (own.begin == own.end) return pieces;
  ParameterPiece like;
  like.name = slice.name;
  like.global_shape = slice.part.global_shape(slice.shape);
  if (slice.part.is_whole()) {
    like.offset = own.begin;
    like.begin = own.local;
    like.size = own.end - own.begin;
    like.primary = slice.part.index == 0;
    pieces.push_back(std::move(like));
  } else if (slice.part.split.dim == 0) {
    add_runs(like, slice.part, own, pieces);
  } else {
    MILLRACE_CHECK(slice.part.split.dim == 1 && slice.shape.size() == 2);
    add_column_split(like, slice.part, own, pieces);
  }
  return pieces;
}

}  // namespace millrace
