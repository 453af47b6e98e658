#include "kernels/cross_entropy/cross_entropy_cpu.h"

#include <ATen/Parallel.h>

#include "kernels/cpu_level.h"

namespace millrace {

void cross_entropy_cpu(const CrossEntropyArgs& args) {
  const auto kernel = MILLRACE_SELECT_KERNELS(cross_entropy_kernels).rows[static_cast<int>(args.type)];
  at::parallel_for(0, args.rows, rows_per_thread(args.classes),
                   [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
}

}  // namespace millrace
