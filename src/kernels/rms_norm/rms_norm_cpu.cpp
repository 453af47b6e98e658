#include "kernels/rms_norm/rms_norm_cpu.h"

#include <ATen/Parallel.h>

#include "kernels/cpu_level.h"
#include "kernels/rows_with_sums.h"

namespace millrace {
void rms_norm_forward_cpu(const RmsNormForwardArgs& args) {
  const auto kernel = MILLRACE_SELECT_KERNELS(rms_norm_kernels).forward[static_cast<int>(args.type)];
  at::parallel_for(0, args.batch * args.length, rows_per_thread(args.dim),
                   [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
}

void rms_norm_backward_cpu(const RmsNormBackwardArgs& args) {
  const auto kernel = MILLRACE_SELECT_KERNELS(rms_norm_kernels).backward[static_cast<int>(args.type)];
  run_rows_with_sums(args.batch * args.length, args.dim, static_cast<float*>(args.dweight.data),
                     [&](int64_t begin, int64_t end, float* sums) { kernel(args, begin, end, sums); });
}

}  // namespace millrace
