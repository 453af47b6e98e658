// linear_bf16 on raw memory. See linear_bf16.h for the letters.
//
// Both sides are packed (kernels/bf16_pairs.h). The depth is cut into blocks, so that a block of a few panels stays in
// a core's cache.
#pragma once

#include <cstdint>

#include "kernels/bf16_pairs.h"

namespace millrace {

inline constexpr int64_t kMaxDepth = 2048;   // of a block
inline constexpr int64_t kPanelsAtOnce = 2;  // 256 KiB of a core's cache

struct LinearBf16Args {
  int64_t rows, depth, columns;       // M, K, N
  int64_t tiles;                      // at most kTileRows of x's rows each, distributed evenly
  int64_t panel_width;                // columns of y: kPanelColumns, or half as many where the other half is the gate's
  int64_t padded_depth, block_depth;  // all blocks but the last are block_depth deep
  const uint16_t* x;
  int64_t x_stride;
  const uint16_t *weight, *gate_weight;  // gate_weight may be null
  int64_t weight_stride, gate_weight_stride;
  const uint16_t* bias;      // or null
  const uint16_t* residual;  // or null
  int64_t residual_stride;
  uint16_t* y;
  int64_t y_stride;
};

// A part of y, and the scratch memory to compute it, 64-byte aligned.
struct LinearBf16Task {
  int64_t first_tile, end_tile, first_panel, end_panel;
  uint32_t* panels;  // of kPanelsAtOnce * kPanelColumns * block_depth / 2 pairs
  float* sums;       // kTileSums for each tile of each panel, or once if there is one block
};

struct LinearBf16Kernels {
  // Packs tiles [first, end) of x, block by block, tile by tile; packed: tiles * kTileRows * padded_depth / 2 pairs.
  void (*pack_rows)(const LinearBf16Args& args, int64_t first, int64_t end, uint32_t* packed);
  void (*multiply)(const LinearBf16Args& args, const uint32_t* packed, const LinearBf16Task& task);
};
extern const LinearBf16Kernels linear_bf16_kernels;

}  // namespace millrace
