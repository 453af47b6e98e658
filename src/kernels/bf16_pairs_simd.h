// Dot products of bf16 pairs, for *_bf16dot.cpp files only, which are compiled for AVX-512 with BF16 (see simd.h for
// what such files may include).
#pragma once

#include "kernels/bf16_pairs.h"
#include "kernels/simd.h"

namespace millrace {
namespace {

MILLRACE_INLINE int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

MILLRACE_INLINE const BF16* as_bf16(const uint16_t* p) {
  return reinterpret_cast<const BF16*>(p);
}

// Calls f(Full or Partial) for the elements of a vector that exist; not at all if there are none.
template <typename F>
MILLRACE_INLINE void with_part(int64_t there, F f) {
  if (there >= kLanes) {
    f(Full{});
  } else if (there > 0) {
    f(Partial{there});
  }
}

using VecW [[gnu::vector_size(64)]] = uint32_t;  // 16 pairs, the first of a pair in the lower half

// sums[i] += a[i].first * b[i].first + a[i].second * b[i].second
MILLRACE_INLINE VecF add_dot_products(VecF sums, VecW a, VecW b) {
  return (VecF)_mm512_dpbf16_ps((__m512)sums, (__m512bh)a, (__m512bh)b);
}

// 16 pairs of a row; those from `count` elements on (which may be negative) are zero.
MILLRACE_INLINE VecW load_pairs(const uint16_t* row, int64_t count) {
  VecW v{};
  if (count >= 32) {
    __builtin_memcpy(&v, row, sizeof v);
  } else if (count > 0) {
    __builtin_memcpy(&v, row, static_cast<uint64_t>(count) * sizeof(uint16_t));
  }
  return v;
}

// Element j of vector i becomes element i of vector j.
MILLRACE_INLINE void transpose(VecW (&v)[16]) {
  VecW t[16];
  for (int i = 0; i < 16; i += 2) {  // 2 x 2 blocks
    t[i] = __builtin_shufflevector(v[i], v[i + 1], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
    t[i + 1] = __builtin_shufflevector(v[i], v[i + 1], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
  }
  for (int i = 0; i < 16; i += 4) {  // 4 x 4
    for (int j = 0; j < 2; ++j) {
      const VecW a = t[i + j], b = t[i + j + 2];
      v[i + 2 * j] = __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
      v[i + 2 * j + 1] = __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    }
  }
  for (int i = 0; i < 4; ++i) {  // quarters of vectors, as a 4 x 4 matrix
    const VecW a = v[i], b = v[i + 4], c = v[i + 8], d = v[i + 12];
    const VecW ab_even = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    const VecW ab_odd = __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    const VecW cd_even = __builtin_shufflevector(c, d, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    const VecW cd_odd = __builtin_shufflevector(c, d, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    t[i] = __builtin_shufflevector(ab_even, cd_even, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    t[i + 4] = __builtin_shufflevector(ab_odd, cd_odd, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    t[i + 8] = __builtin_shufflevector(ab_even, cd_even, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    t[i + 12] = __builtin_shufflevector(ab_odd, cd_odd, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
  }
  for (int i = 0; i < 16; ++i) v[i] = t[i];
}

// `count` rows of a matrix, at most 16 (below 0: none), `depth` elements each; missing rows are zero.
struct SourceRows {
  const uint16_t* first;
  int64_t stride, count, depth;
};

// Writes the rows' pairs 0, 1, ... depth / 2 - 1: each for the first `kept` rows side by side; the next pair starts
// `step` words later.
MILLRACE_INLINE void pack_pairs(const SourceRows& source, int64_t depth, uint32_t* packed, int64_t step, int kept) {
  constexpr int64_t kStepsAhead = 6;  // prefetch distance: 16 rows are more than a hardware prefetcher tracks
  for (int64_t k = 0; k < depth; k += kDepthStep) {
    VecW v[16] = {};
    for (int64_t i = 0; i < source.count; ++i) {
      const uint16_t* const row = source.first + i * source.stride + k;
      __builtin_prefetch(row + kStepsAhead * kDepthStep);
      v[i] = load_pairs(row, source.depth - k);
    }
    transpose(v);
    for (int i = 0; i < 16; ++i) {
      __builtin_memcpy(packed, &v[i], static_cast<uint64_t>(kept) * sizeof(uint32_t));
      packed += step;
    }
  }
}

// sums [kRows][kPanelColumns] (+)= a tile [pairs][kTileRows] times a panel [pairs][kPanelColumns].
template <int kRows>
void multiply_tile(const uint32_t* rows, const uint32_t* columns, int64_t pairs, bool accumulate, float* sums) {
  VecF acc[kRows][2];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < 2; ++j) acc[i][j] = accumulate ? load(sums + (2 * i + j) * 16, Full{}) : VecF{};
  }
  // How many pairs ahead memory is fetched: columns come from the core's own second cache, rows from the shared one.
  constexpr int64_t kColumnsAhead = 8, kRowsAhead = 32;
  for (int64_t k = 0; k < pairs; ++k) {
    VecW left, right;
    __builtin_memcpy(&left, columns, sizeof left);
    __builtin_memcpy(&right, columns + 16, sizeof right);
    __builtin_prefetch(rows + kRowsAhead * kTileRows);
    __builtin_prefetch(columns + kColumnsAhead * kPanelColumns);
    __builtin_prefetch(columns + kColumnsAhead * kPanelColumns + 16);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const VecW row = rows[i] - VecW{};
      acc[i][0] = add_dot_products(acc[i][0], left, row);
      acc[i][1] = add_dot_products(acc[i][1], right, row);
    }
    rows += kTileRows;
    columns += kPanelColumns;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < 2; ++j) store(sums + (2 * i + j) * 16, acc[i][j], Full{});
  }
}

// By the number of rows.
using MultiplyTile = void (*)(const uint32_t* rows, const uint32_t* columns, int64_t pairs, bool accumulate,
                              float* sums);
constexpr MultiplyTile kMultiplyTile[kTileRows + 1] = {
    nullptr,           multiply_tile<1>,  multiply_tile<2>,  multiply_tile<3>,  multiply_tile<4>,
    multiply_tile<5>,  multiply_tile<6>,  multiply_tile<7>,  multiply_tile<8>,  multiply_tile<9>,
    multiply_tile<10>, multiply_tile<11>, multiply_tile<12>, multiply_tile<13>, multiply_tile<14>,
};

}  // namespace
}  // namespace millrace
