// Dot products of bf16 pairs, for *_bf16dot.cpp files only, which are compiled for AVX-512 with BF16 (see simd.h for
// what such files may include).
#pragma once

#include "kernels/bf16_pairs.h"
#include "kernels/simd.h"
#include "kernels/words_simd.h"

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
