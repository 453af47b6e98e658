#include "kernels/qk_norm_rope/qk_norm_rope_cpu.h"

#include <ATen/Parallel.h>

#include "kernels/cpu_level.h"

namespace millrace {
void qk_norm_rope_forward_cpu(const QkNormRopeForwardArgs& args) {
  const auto kernel = MILLRACE_SELECT_KERNELS(qk_norm_rope_kernels).forward[static_cast<int>(args.type)];
  at::parallel_for(0, args.batch * args.length, rows_per_thread(3 * args.heads * args.head_dim),
                   [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
}

void qk_norm_rope_backward_cpu(const QkNormRopeBackwardArgs& args) {
  const auto kernel = MILLRACE_SELECT_KERNELS(qk_norm_rope_kernels).backward[static_cast<int>(args.type)];
  const int64_t rows = args.batch * args.length, dim = args.head_dim;
  const int64_t bias_size = args.dbias.data != nullptr ? 3 * args.heads * dim : 0;
  const int64_t size = 2 * dim + bias_size;
  const RowChunks chunks = RowChunks::make(rows, kMinRowsPerChunk, kMaxChunks);
  const torch::Tensor partials = at::empty({chunks.count, size}, at::kFloat);
  float* const sums = partials.data_ptr<float>();
  at::parallel_for(0, chunks.count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i * chunks.rows_per_chunk;
      float* dscales = sums + i * size;
      kernel(args, first, std::min(rows, first + chunks.rows_per_chunk), dscales,
             bias_size > 0 ? dscales + 2 * dim : nullptr);
    }
  });
  const auto add_up = [&](int64_t begin, int64_t n, const FloatRows& out) {
    if (out.data != nullptr) sum_partials(sums + begin, chunks.count, size, n, static_cast<float*>(out.data));
  };
  add_up(0, dim, args.dq_scale);
  add_up(dim, dim, args.dk_scale);
  add_up(2 * dim, bias_size, args.dbias);
}

}  // namespace millrace
