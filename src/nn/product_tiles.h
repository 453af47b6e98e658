// How a matrix product is cut so that no operand spans too many elements.
#pragma once

#include <cstdint>
#include <vector>

namespace millrace {

// Libraries of GPU makers have failed where an operand has 2^31 elements or more.
inline constexpr int64_t kLargestOperand = (int64_t{1} << 31) - 1;

struct MatrixSpan {
  int64_t rows = 0, columns = 0;
  int64_t row_stride = 0, column_stride = 0;
};

struct ProductTile {
  int64_t m = 0, m_size = 0;  // rows of out
  int64_t n = 0, n_size = 0;  // columns of out
  int64_t k = 0, k_size = 0;  // terms of the sums
};

// Tiles that cover out_MN = a_MK * b_KN, of which no operand reaches from its first to its last element over more than
// `largest` elements, as long as one row or column does not. Operands are halved along their outer dimension. Tiles of
// the same part of out come in ascending order of k.
std::vector<ProductTile> product_tiles(const MatrixSpan& out_MN, const MatrixSpan& a_MK, const MatrixSpan& b_KN,
                                       int64_t largest);

}  // namespace millrace
