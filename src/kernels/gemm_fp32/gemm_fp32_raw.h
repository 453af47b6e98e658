// gemm_fp32 on raw memory. See gemm_fp32.h for the letters.
//
// Both sides are packed: a block of the depth, kTileRows rows of a or columns of b side by side, lies as
// [depth][side by side], zeros where the matrix ends. A tile of the product is then made in registers.
#pragma once

#include <cstdint>

namespace millrace {

// Element (i, k) of one side, i counting what is packed side by side, is data[i * step + k * depth_step].
struct GemmSide {
  const float* data;
  int64_t step, depth_step;
};

// A part of the product, rows by columns, from packed blocks. a: tiles of rows, one after the other; b: panels of
// columns, panel_step elements apart.
struct GemmPart {
  int64_t rows, columns, depth;
  const float* a;
  const float* b;
  int64_t panel_step;
  float* out;
  int64_t out_stride;
  bool accumulate;
};

struct GemmFp32Kernels {
  int64_t tile_rows, panel_columns;
  // Packs `count` rows or columns, `width` (tile_rows or panel_columns) side by side.
  void (*pack)(const GemmSide& side, int64_t count, int64_t depth, int64_t width, float* packed, int64_t packed_step);
  void (*multiply)(const GemmPart& part);
};
extern const GemmFp32Kernels gemm_fp32_kernels_v2, gemm_fp32_kernels_v3, gemm_fp32_kernels_v4;

}  // namespace millrace
