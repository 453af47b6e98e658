// Quantised matrices on raw memory: the CPU levels' table and the GPU entry point.
//
// A matrix [N, K] of weights that are read, never trained. Kinds:
//   fp8     float8_e4m3fn [N, K], times a scale per row where there are scales
//   int8    [N, K], times a scale per row
//   nf4     two table indices a byte, the first element in the high half, row after row without a gap; times a scale
//           per 64 elements, itself in 8 bits
//   blocks  rows of GGUF's blocks (base/block_format.h)
#pragma once

#include "base/block_format.h"
#include "kernels/raw.h"

namespace millrace {

enum class QuantisedKind : int { kFp8 = 0, kInt8 = 1, kNf4 = 2, kBlocks = 3 };

inline constexpr int64_t kNf4Block = 64;        // elements to a scale
inline constexpr int64_t kNf4ScaleBlock = 256;  // scales to a factor

// scale = table[code] * factor + offset, or table[code] / factor + offset: bitsandbytes' and torchao's way to store the
// largest magnitude of a block.
struct Nf4Scales {
  const uint8_t* codes = nullptr;
  const float* table = nullptr;    // [256]
  const float* factors = nullptr;  // one per kNf4ScaleBlock codes
  const float* offset = nullptr;   // [1]
  bool divide = false;
  bool round_to_bf16 = false;  // after each of the two operations
};

struct QuantisedMatrix {
  QuantisedKind kind = QuantisedKind::kFp8;
  BlockFormat format = BlockFormat::kNone;  // of blocks
  int64_t rows = 0, columns = 0;
  const uint8_t* codes = nullptr;
  const float* row_scales = nullptr;  // [N] of fp8 and int8, null: none
  const float* nf4_table = nullptr;   // [16]
  Nf4Scales nf4_scales;
};

// A tile: rows [row_begin, row_begin + rows) and columns [column_begin, column_begin + columns) as numbers.
struct DequantiseArgs {
  QuantisedMatrix matrix;
  int64_t row_begin, rows, column_begin, columns;  // of blocks: whole ones
  ElementType type;                                // of out
  void* out;
  int64_t out_stride;  // elements from row to row
};

struct DequantiseKernels {
  // Rows [begin, end) of the tile. Indexed by ElementType.
  void (*rows[2])(const DequantiseArgs& args, int64_t begin, int64_t end);
};
extern const DequantiseKernels dequantise_kernels_v2, dequantise_kernels_v3, dequantise_kernels_v4;

// stream: a cudaStream_t.
void dequantise_cuda(const DequantiseArgs& args, void* stream);

}  // namespace millrace
