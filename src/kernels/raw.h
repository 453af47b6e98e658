// A tensor as kernels see it: a pointer and strides, no torch. Shared by CPU levels and CUDA.
#pragma once

#include <cstdint>

namespace millrace {

enum class ElementType : int { kF32 = 0, kBF16 = 1 };

// [B, L, D]; strides count elements; the last dimension is contiguous.
struct Rows {
  void* data = nullptr;
  int64_t batch_stride = 0;
  int64_t row_stride = 0;
};

// [B, D], or [D] with batch_stride 0: a modulation, a bias, a scale, with its own type; on a CPU callers convert it to
// fp32 first. data is null when absent.
struct FloatRows {
  void* data = nullptr;
  int64_t batch_stride = 0;
  ElementType type = ElementType::kF32;
};

// Rows are summed in chunks whose number depends on the shape alone, so that a sum is the same for any number of
// threads.
struct RowChunks {
  int64_t rows = 0;            // in all
  int64_t rows_per_chunk = 1;  // the last chunk may be shorter
  int64_t count = 0;

  static RowChunks make(int64_t rows, int64_t min_rows_per_chunk, int64_t max_chunks) {
    const int64_t wanted = (rows + max_chunks - 1) / max_chunks;
    const int64_t per_chunk = wanted > min_rows_per_chunk ? wanted : min_rows_per_chunk;
    return {rows, per_chunk, (rows + per_chunk - 1) / per_chunk};
  }
};

}  // namespace millrace
