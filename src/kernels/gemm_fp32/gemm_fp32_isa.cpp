#include "kernels/gemm_fp32/gemm_fp32_raw.h"
#include "kernels/simd.h"

namespace millrace {
namespace {

// The sums of a tile, the columns of b that are multiplied next and one number of a fill the registers: 16, or 32 of
// AVX-512. Twelve sums and more hide the latency of the multiplications.
#if defined(MILLRACE_ISA_v4)
constexpr int64_t kTileRows = 8;
#else
constexpr int64_t kTileRows = 4;
#endif
constexpr int64_t kTileVectors = 3;
constexpr int64_t kPanelColumns = kTileVectors * kLanes;
// A panel of a block is half of a core's first-level cache or more, a block of rows three quarters of the second-level
// cache (of 512 KiB, as AMD's processors have at least).
constexpr int64_t kBlockDepth = 256, kBlockRows = 384, kBlockColumns = int64_t{1} << 20;

MILLRACE_INLINE int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

// (a0, a1, ...), (b0, b1, ...) -> (a0, b0, a1, b1, ...), the first or the second half of it.
MILLRACE_INLINE VecF interleave_low(VecF a, VecF b) {
#if defined(MILLRACE_ISA_v4)
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
#elif defined(MILLRACE_ISA_v3)
  return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
#else
  return __builtin_shufflevector(a, b, 0, 4, 1, 5);
#endif
}
MILLRACE_INLINE VecF interleave_high(VecF a, VecF b) {
#if defined(MILLRACE_ISA_v4)
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif defined(MILLRACE_ISA_v3)
  return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
  return __builtin_shufflevector(a, b, 2, 6, 3, 7);
#endif
}

// kRows rows of kLanes numbers become their columns, one after the other: each round shuffles both halves of the
// vectors like cards, which turns the bits of an element's place by one.
template <int kRows>
MILLRACE_INLINE void transpose(VecF (&rows)[kRows]) {
  for (int round = 1; round < kRows; round *= 2) {
    VecF shuffled[kRows];
    for (int i = 0; i < kRows / 2; ++i) {
      shuffled[2 * i] = interleave_low(rows[i], rows[i + kRows / 2]);
      shuffled[2 * i + 1] = interleave_high(rows[i], rows[i + kRows / 2]);
    }
    for (int i = 0; i < kRows; ++i) rows[i] = shuffled[i];
  }
}

// kRows rows (or fewer, `valid`) whose depth is contiguous, side by side in rows of `width`.
template <int kRows>
MILLRACE_INLINE void pack_transposed(const float* from, int64_t step, int64_t valid, int64_t depth, float* to,
                                     int64_t width) {
  constexpr int kColumnsOfVector = kLanes / kRows;
  int64_t k = 0;
  for (; k + kLanes <= depth; k += kLanes) {
    VecF rows[kRows];
    for (int i = 0; i < kRows; ++i) rows[i] = i < valid ? load(from + i * step + k, Full{}) : VecF{};
    transpose(rows);
    for (int j = 0; j < kRows; ++j) store(to + (k + j * kColumnsOfVector) * width, rows[j], Full{});
  }
  for (; k < depth; ++k) {
    for (int i = 0; i < kRows; ++i) to[k * width + i] = i < valid ? from[i * step + k] : 0.0f;
  }
}

// One tile or panel: `valid` rows or columns of kWidth, as [depth][kWidth].
template <int64_t kWidth>
void pack_one(const GemmSide& side, int64_t valid, int64_t depth, float* to) {
  if (side.depth_step == 1 && kWidth == kTileRows) {
    pack_transposed<kTileRows>(side.data, side.step, valid, depth, to, kWidth);
  } else if (side.depth_step == 1) {
    for (int64_t first = 0; first < kWidth; first += kLanes) {
      pack_transposed<kLanes>(side.data + first * side.step, side.step, valid - first, depth, to + first, kWidth);
    }
  } else if (side.step == 1 && valid == kWidth) {
    for (int64_t k = 0; k < depth; ++k) {
      __builtin_memcpy(to + k * kWidth, side.data + k * side.depth_step, kWidth * sizeof(float));
    }
  } else {
    for (int64_t k = 0; k < depth; ++k) {
      const float* const from = side.data + k * side.depth_step;
      for (int64_t i = 0; i < kWidth; ++i) to[k * kWidth + i] = i < valid ? from[i * side.step] : 0.0f;
    }
  }
}

template <int64_t kWidth>
void pack(const GemmSide& side, int64_t count, int64_t depth, float* packed, int64_t packed_step) {
  for (int64_t first = 0; first < count; first += kWidth, packed += packed_step) {
    const GemmSide rest{side.data + first * side.step, side.step, side.depth_step};
    pack_one<kWidth>(rest, smaller(kWidth, count - first), depth, packed);
  }
}

// sums[i][j] = the tile's row i, vector j. (Set to zero one by one: GCC 12 would call for a whole array's memory.)
MILLRACE_INLINE void multiply_tile(const float* a, const float* b, int64_t depth,
                                   VecF (&sums)[kTileRows][kTileVectors]) {
  for (int i = 0; i < kTileRows; ++i) {
    for (int j = 0; j < kTileVectors; ++j) sums[i][j] = VecF{};
  }
#pragma GCC unroll 4
  for (int64_t k = 0; k < depth; ++k) {
    VecF columns[kTileVectors];
    for (int j = 0; j < kTileVectors; ++j) columns[j] = load(b + k * kPanelColumns + j * kLanes, Full{});
    for (int i = 0; i < kTileRows; ++i) {
      const VecF row = splat(a[k * kTileRows + i]);
      for (int j = 0; j < kTileVectors; ++j) sums[i][j] += row * columns[j];
    }
  }
}

// Writes `rows` rows and `columns` columns of a tile.
MILLRACE_INLINE void finish(const VecF (&sums)[kTileRows][kTileVectors], int64_t rows, int64_t columns, float* out,
                            int64_t stride, bool accumulate) {
  const auto write = [&](int64_t i, int j, auto part) {
    float* const to = out + i * stride + j * kLanes;
    store(to, accumulate ? load(to, part) + sums[i][j] : sums[i][j], part);
  };
  if (rows == kTileRows && columns == kPanelColumns) {
    for (int i = 0; i < kTileRows; ++i) {
      for (int j = 0; j < kTileVectors; ++j) write(i, j, Full{});
    }
    return;
  }
  for (int64_t i = 0; i < rows; ++i) {
    for (int j = 0; j < kTileVectors; ++j) {
      const int64_t left = columns - j * kLanes;
      if (left >= kLanes) {
        write(i, j, Full{});
      } else if (left > 0) {
        write(i, j, Partial{left});
      }
    }
  }
}

// A panel of b stays in the first-level cache while all tiles of a, in the second-level cache, pass by.
void multiply(const GemmPart& part) {
  const float* b = part.b;
  for (int64_t column = 0; column < part.columns; column += kPanelColumns, b += part.panel_step) {
    const float* a = part.a;
    for (int64_t row = 0; row < part.rows; row += kTileRows, a += kTileRows * part.depth) {
      float* const out = part.out + row * part.out_stride + column;
      // What is added to is fetched while the tile is computed.
      for (int64_t i = 0; i < smaller(kTileRows, part.rows - row); ++i)
        __builtin_prefetch(out + i * part.out_stride, 1);
      VecF sums[kTileRows][kTileVectors];
      multiply_tile(a, b, part.depth, sums);
      finish(sums, smaller(kTileRows, part.rows - row), smaller(kPanelColumns, part.columns - column), out,
             part.out_stride, part.accumulate || !part.first);
    }
  }
}

}  // namespace

extern const GemmFp32Kernels MILLRACE_ISA_NAME(gemm_fp32_kernels);
const GemmFp32Kernels MILLRACE_ISA_NAME(gemm_fp32_kernels) = {.tile_rows = kTileRows,
                                                              .panel_columns = kPanelColumns,
                                                              .block_rows = kBlockRows,
                                                              .block_columns = kBlockColumns,
                                                              .block_depth = kBlockDepth,
                                                              .depth_step = 1,
                                                              .halfwords = 2,
                                                              .keeps_sums = false,
                                                              .pack_rows = pack<kTileRows>,
                                                              .pack_columns = pack<kPanelColumns>,
                                                              .multiply = multiply};

}  // namespace millrace
