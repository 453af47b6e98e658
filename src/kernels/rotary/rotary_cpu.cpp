#include "kernels/rotary/rotary_cpu.h"

#include <ATen/Parallel.h>

#include "kernels/cpu_level.h"

namespace millrace {

void rotary_cpu(const RotaryArgs& args) {
  const auto kernel = MILLRACE_SELECT_KERNELS(rotary_kernels).rotate[static_cast<int>(args.type)];
  at::parallel_for(0, args.tokens, rows_per_thread(args.heads * 2 * args.pairs),
                   [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
}

}  // namespace millrace
