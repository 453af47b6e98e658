#include "nn/product_tiles.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace millrace {
namespace {

constexpr int64_t kGranule = 64;  // elements: halves begin on a cache line

// First element to last, in elements.
int64_t reach(const MatrixSpan& matrix, int64_t rows, int64_t columns) {
  return (rows - 1) * std::abs(matrix.row_stride) + (columns - 1) * std::abs(matrix.column_stride) + 1;
}

class Cutter {
 public:
  Cutter(const MatrixSpan& out, const MatrixSpan& a, const MatrixSpan& b, int64_t largest)
      : out_(out), a_(a), b_(b), largest_(largest) {}

  void cut(const ProductTile& tile) {
    int64_t ProductTile::*begin = nullptr;
    int64_t ProductTile::*size = nullptr;
    int64_t worst = largest_;
    // The outer dimension, or the other one where that has a single row or column.
    const auto consider = [&](const MatrixSpan& matrix, int64_t ProductTile::*row, int64_t ProductTile::*rows,
                              int64_t ProductTile::*column, int64_t ProductTile::*columns) {
      const int64_t elements = reach(matrix, tile.*rows, tile.*columns);
      if (elements <= worst) return;
      const bool rows_outside = std::abs(matrix.row_stride) >= std::abs(matrix.column_stride);
      const bool by_rows = (rows_outside && tile.*rows > 1) || tile.*columns == 1;
      if (tile.*(by_rows ? rows : columns) == 1) return;
      worst = elements;
      begin = by_rows ? row : column;
      size = by_rows ? rows : columns;
    };
    consider(out_, &ProductTile::m, &ProductTile::m_size, &ProductTile::n, &ProductTile::n_size);
    consider(a_, &ProductTile::m, &ProductTile::m_size, &ProductTile::k, &ProductTile::k_size);
    consider(b_, &ProductTile::k, &ProductTile::k_size, &ProductTile::n, &ProductTile::n_size);
    if (begin == nullptr) {
      tiles.push_back(tile);
      return;
    }
    const int64_t half = (tile.*size + 1) / 2;
    const int64_t first = std::min((half + kGranule - 1) / kGranule * kGranule, tile.*size - 1);
    ProductTile low = tile, high = tile;
    low.*size = tile.*size > kGranule ? first : half;
    high.*begin = tile.*begin + low.*size;
    high.*size = tile.*size - low.*size;
    cut(low);
    cut(high);
  }

  std::vector<ProductTile> tiles;

 private:
  const MatrixSpan &out_, &a_, &b_;
  int64_t largest_;
};

}  // namespace

std::vector<ProductTile> product_tiles(const MatrixSpan& out_MN, const MatrixSpan& a_MK, const MatrixSpan& b_KN,
                                       int64_t largest) {
  Cutter cutter(out_MN, a_MK, b_KN, largest);
  cutter.cut({.m_size = out_MN.rows, .n_size = out_MN.columns, .k_size = a_MK.columns});
  return std::move(cutter.tiles);
}

}  // namespace millrace
