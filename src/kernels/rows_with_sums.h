// Rows shared out over threads, for CPU kernels that also sum a column vector over all rows.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

#include "kernels/tensor_args.h"

namespace millrace {

// Calls kernel(begin, end, sums) for ranges of rows [rows, dim]. sums: [dim], of that range alone; they are added up in
// a fixed order, whatever the number of threads, and written to total. total null: sums is null, too.
template <typename Kernel>
void run_rows_with_sums(int64_t rows, int64_t dim, float* total, const Kernel& kernel) {
  if (total == nullptr) {
    at::parallel_for(0, rows, rows_per_thread(dim), [&](int64_t begin, int64_t end) { kernel(begin, end, nullptr); });
    return;
  }
  const RowChunks chunks = RowChunks::make(rows, kMinRowsPerChunk, kMaxChunks);
  const torch::Tensor partials = at::empty({chunks.count, dim}, at::kFloat);
  float* const sums = partials.data_ptr<float>();
  at::parallel_for(0, chunks.count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i * chunks.rows_per_chunk;
      kernel(first, std::min(rows, first + chunks.rows_per_chunk), sums + i * dim);
    }
  });
  sum_partials(sums, chunks.count, dim, dim, total);
}

}  // namespace millrace
