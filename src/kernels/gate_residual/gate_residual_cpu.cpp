#include "kernels/gate_residual/gate_residual_cpu.h"

#include <ATen/Parallel.h>

#include "kernels/cpu_level.h"
#include "kernels/norm_modulate/norm_modulate_cpu.h"

namespace millrace {
void gate_residual_forward_cpu(const GateResidualForwardArgs& args, bool with_norm) {
  const GateResidualKernels& kernels = MILLRACE_SELECT_KERNELS(gate_residual_kernels);
  const auto kernel = (with_norm ? kernels.norm_forward : kernels.forward)[static_cast<int>(args.type)];
  at::parallel_for(0, args.batch * args.length, rows_per_thread(args.dim),
                   [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
}

void gate_residual_backward_cpu(const GateResidualBackwardArgs& args) {
  const auto kernel = MILLRACE_SELECT_KERNELS(gate_residual_kernels).backward[static_cast<int>(args.type)];
  const int64_t dim = args.dim;
  const RowChunks chunks = RowChunks::make(args.length, kMinRowsPerChunk, kMaxChunks);
  const torch::Tensor partials = at::empty({args.batch * chunks.count, 2 * dim}, at::kFloat);
  float* const sums = partials.data_ptr<float>();
  at::parallel_for(0, args.batch * chunks.count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i % chunks.count * chunks.rows_per_chunk;
      const int64_t last = std::min(args.length, first + chunks.rows_per_chunk);
      kernel(args, i / chunks.count, first, last, sums + i * 2 * dim);
    }
  });

  float* const dbias = static_cast<float*>(args.dbias.data);
  if (dbias != nullptr) std::fill_n(dbias, dim, 0.0f);
  std::vector<float> dout_sum(dim);
  for (int64_t b = 0; b < args.batch; ++b) {
    const float* of_sample = sums + b * chunks.count * 2 * dim;
    sum_partials(of_sample, chunks.count, 2 * dim, dim, row_of(args.dgate, b));
    if (dbias == nullptr) continue;
    sum_partials(of_sample + dim, chunks.count, 2 * dim, dim, dout_sum.data());
    const float* gate = row_of(args.gate, b);
    for (int64_t i = 0; i < dim; ++i) dbias[i] += gate[i] * dout_sum[i];
  }
}

// Two passes: a single pass over eleven streams, most at the same page offset, overruns an 8-way L1 cache and was
// measured to be slower, both row by row and a few rows at a time.
void gate_residual_norm_backward_cpu(const GateResidualBackwardArgs& args) {
  norm_modulate_backward_cpu({.batch = args.batch,
                              .length = args.length,
                              .dim = args.dim,
                              .type = args.type,
                              .dy = args.dn,
                              .x = args.out,
                              .dx = args.dout,
                              .accumulate_dx = true,
                              .scale = args.scale,
                              .mean = args.mean,
                              .rstd = args.rstd,
                              .dshift = args.dshift,
                              .dscale = args.dscale});
  gate_residual_backward_cpu(args);
}

}  // namespace millrace
