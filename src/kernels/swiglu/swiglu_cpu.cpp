#include "kernels/swiglu/swiglu_cpu.h"

#include <ATen/Parallel.h>

#include "kernels/cpu_level.h"

namespace millrace {

void swiglu_forward_cpu(const SwigluForwardArgs& args) {
  const auto kernel = MILLRACE_SELECT_KERNELS(swiglu_kernels).forward[static_cast<int>(args.type)];
  at::parallel_for(0, args.batch * args.length, rows_per_thread(args.dim),
                   [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
}

void swiglu_backward_cpu(const SwigluBackwardArgs& args) {
  const auto kernel = MILLRACE_SELECT_KERNELS(swiglu_kernels).backward[static_cast<int>(args.type)];
  at::parallel_for(0, args.batch * args.length, rows_per_thread(args.dim),
                   [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
}

}  // namespace millrace
