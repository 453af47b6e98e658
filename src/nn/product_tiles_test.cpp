#include "nn/product_tiles.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace millrace {
namespace {

MatrixSpan by_rows(int64_t rows, int64_t columns) {
  return {rows, columns, columns, 1};
}
MatrixSpan by_columns(int64_t rows, int64_t columns) {
  return {rows, columns, 1, rows};
}
int64_t reach(const MatrixSpan& matrix, int64_t rows, int64_t columns) {
  return (rows - 1) * matrix.row_stride + (columns - 1) * matrix.column_stride + 1;
}

// FLUX's shared modulation: 1,056,768 outputs of 3072 numbers, for 16 samples; and its two gradients.
constexpr int64_t kWide = 1'056'768, kHidden = 3072, kBatch = 16;

TEST(ProductTiles, AProductThatFitsIsOne) {
  EXPECT_EQ(product_tiles(by_rows(8192, 9216), by_rows(8192, 3072), by_columns(3072, 9216), kLargestOperand).size(),
            1u);
}

TEST(ProductTiles, TheLargestProductsOfFluxAreHalved) {
  const MatrixSpan small = by_rows(kBatch, kWide), vec = by_rows(kBatch, kHidden);
  const auto forward = product_tiles(small, vec, by_columns(kHidden, kWide), kLargestOperand);
  ASSERT_EQ(forward.size(), 2u);
  EXPECT_EQ(forward[0].n_size, kWide / 2);  // outputs: no sum is cut
  const auto dweight = product_tiles(by_rows(kWide, kHidden), by_columns(kWide, kBatch), vec, kLargestOperand);
  ASSERT_EQ(dweight.size(), 2u);
  EXPECT_EQ(dweight[1].m, kWide / 2);
  const auto dx = product_tiles(vec, small, by_rows(kWide, kHidden), kLargestOperand);
  ASSERT_EQ(dx.size(), 2u);
  EXPECT_EQ(dx[1].k, kWide / 2);  // half of the weights' rows: the sums are cut
}

TEST(ProductTiles, EveryTermIsCoveredOnceInOrderAndNoOperandIsTooLarge) {
  for (const int64_t largest : {40, 129, 1000, 5000}) {
    for (const bool transposed : {false, true}) {
      constexpr int64_t kM = 37, kN = 70, kK = 29;
      const MatrixSpan out = by_rows(kM, kN), a = transposed ? by_columns(kM, kK) : by_rows(kM, kK);
      const MatrixSpan b = transposed ? by_columns(kK, kN) : by_rows(kK, kN);
      std::map<std::pair<int64_t, int64_t>, int64_t> next_k;
      int64_t terms = 0;
      for (const ProductTile& tile : product_tiles(out, a, b, largest)) {
        EXPECT_LE(reach(out, tile.m_size, tile.n_size), std::max<int64_t>(largest, kN));
        EXPECT_LE(reach(a, tile.m_size, tile.k_size), std::max<int64_t>(largest, kM));
        EXPECT_LE(reach(b, tile.k_size, tile.n_size), std::max<int64_t>(largest, kN));
        for (int64_t m = tile.m; m < tile.m + tile.m_size; ++m) {
          for (int64_t n = tile.n; n < tile.n + tile.n_size; ++n) {
            EXPECT_EQ((next_k[{m, n}]), tile.k);
            next_k[{m, n}] = tile.k + tile.k_size;
            terms += tile.k_size;
          }
        }
      }
      EXPECT_EQ(terms, kM * kN * kK);
    }
  }
}

}  // namespace
}  // namespace millrace
