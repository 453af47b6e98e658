#include "kernels/norm_modulate/norm_modulate_cpu.h"

#include <ATen/Parallel.h>

#include "kernels/cpu_level.h"

namespace millrace {
void norm_modulate_forward_cpu(const NormModulateForwardArgs& args) {
  const auto kernel = MILLRACE_SELECT_KERNELS(norm_modulate_kernels).forward[static_cast<int>(args.type)];
  at::parallel_for(0, args.batch * args.length, rows_per_thread(args.dim),
                   [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
}

void norm_modulate_backward_cpu(const NormModulateBackwardArgs& args) {
  const auto kernel = MILLRACE_SELECT_KERNELS(norm_modulate_kernels).backward[static_cast<int>(args.type)];
  const RowChunks chunks = RowChunks::make(args.length, kMinRowsPerChunk, kMaxChunks);
  const torch::Tensor partials = at::empty({args.batch, chunks.count, 2, args.dim}, at::kFloat);
  float* const partial_rows = partials.data_ptr<float>();
  at::parallel_for(0, args.batch * chunks.count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / chunks.count, first = i % chunks.count * chunks.rows_per_chunk;
      float* dshift = partial_rows + i * 2 * args.dim;
      kernel(args, b, first, std::min(args.length, first + chunks.rows_per_chunk), dshift, dshift + args.dim);
    }
  });
  for (int64_t b = 0; b < args.batch; ++b) {
    const float* of_sample = partial_rows + b * chunks.count * 2 * args.dim;
    sum_partials(of_sample, chunks.count, 2 * args.dim, args.dim, row_of(args.dshift, b));
    sum_partials(of_sample + args.dim, chunks.count, 2 * args.dim, args.dim, row_of(args.dscale, b));
  }
}

}  // namespace millrace
