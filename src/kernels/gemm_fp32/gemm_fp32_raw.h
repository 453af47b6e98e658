// gemm_fp32 on raw memory. See gemm_fp32.h for the letters.
//
// Both sides are packed: for a block of the depth, the rows of a tile of a, or the columns of a panel of b, lie side by
// side, zeros where the matrix ends. A tile of the product is then made in registers. How a block is laid out is known
// to the functions of one table alone.
#pragma once

#include <cstdint>

namespace millrace {

// Element (i, k) of one side, i counting what is packed side by side, is data[i * step + k * depth_step].
struct GemmSide {
  const float* data;
  int64_t step, depth_step;
};

// A part of the product, rows by columns, for one block of the depth, from packed blocks. a: tiles of rows, one after
// the other; b: panels of columns, panel_step floats apart.
struct GemmPart {
  int64_t rows, columns, depth;
  const float *a, *b;
  int64_t panel_step;
  float* out;
  int64_t out_stride;
  bool accumulate;   // to what is in out
  bool first, last;  // of the blocks of the depth whose sums are made in one go, part after part
  float* kept;       // memory for those sums, if the table keeps them
};

struct GemmFp32Kernels {
  int64_t tile_rows, panel_columns;
  int64_t block_rows, block_columns;  // of a part at most
  int64_t block_depth;                // at most
  int64_t depth_step;                 // a packed block's depth is rounded up to whole steps
  int64_t halfwords;                  // of 16 bits, that a packed number takes
  bool keeps_sums;                    // in GemmPart::kept, unless a part is the first and the last at once

  // Packs `count` rows or columns, tile_rows or panel_columns side by side; the next ones packed_step floats later.
  // Packed memory is 64-byte aligned.
  void (*pack_rows)(const GemmSide& side, int64_t count, int64_t depth, float* packed, int64_t packed_step);
  void (*pack_columns)(const GemmSide& side, int64_t count, int64_t depth, float* packed, int64_t packed_step);
  void (*multiply)(const GemmPart& part);

  // The floats that `width` rows or columns, of whole tiles or panels, take when packed.
  int64_t packed_size(int64_t width, int64_t depth) const {
    return width * ((depth + depth_step - 1) / depth_step * depth_step) * halfwords / 2;
  }
};
extern const GemmFp32Kernels gemm_fp32_kernels_v2, gemm_fp32_kernels_v3, gemm_fp32_kernels_v4, gemm_fp32_kernels_amx;

// Those of the level in use, or AMX's, of which the levels know nothing.
const GemmFp32Kernels& gemm_fp32_kernels();

}  // namespace millrace
