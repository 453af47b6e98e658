#include "kernels/rms_norm/rms_norm_cpu.h"

#include <ATen/Parallel.h>

#include "kernels/cpu_level.h"
#include "kernels/tensor_args.h"

namespace millrace {
void rms_norm_forward_cpu(const RmsNormForwardArgs& args) {
  const auto kernel = MILLRACE_SELECT_KERNELS(rms_norm_kernels).forward[static_cast<int>(args.type)];
  at::parallel_for(0, args.batch * args.length, rows_per_thread(args.dim),
                   [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
}

void rms_norm_backward_cpu(const RmsNormBackwardArgs& args) {
  const auto kernel = MILLRACE_SELECT_KERNELS(rms_norm_kernels).backward[static_cast<int>(args.type)];
  const int64_t rows = args.batch * args.length;
  if (args.dweight.data == nullptr) {
    at::parallel_for(0, rows, rows_per_thread(args.dim),
                     [&](int64_t begin, int64_t end) { kernel(args, begin, end, nullptr); });
    return;
  }
  const RowChunks chunks = RowChunks::make(rows, kMinRowsPerChunk, kMaxChunks);
  const torch::Tensor partials = at::empty({chunks.count, args.dim}, at::kFloat);
  float* const sums = partials.data_ptr<float>();
  at::parallel_for(0, chunks.count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i * chunks.rows_per_chunk;
      kernel(args, first, std::min(rows, first + chunks.rows_per_chunk), sums + i * args.dim);
    }
  });
  sum_partials(sums, chunks.count, args.dim, args.dim, static_cast<float*>(args.dweight.data));
}

}  // namespace millrace
