#include "kernels/adamw/adamw_cpu.h"

#include <ATen/Parallel.h>

#include "kernels/cpu_level.h"

namespace millrace {

void adamw_cpu(const AdamWArgs& args) {
  const auto kernel = MILLRACE_SELECT_KERNELS(adamw_kernels)
                          .update[static_cast<int>(args.param_type)][static_cast<int>(args.grad_type)]
                                 [static_cast<int>(args.moment_type)];
  constexpr int64_t kPiece = 8192;  // a multiple of every level's tile
  const int64_t pieces = (args.size + kPiece - 1) / kPiece;
  at::parallel_for(0, pieces, 1, [&](int64_t begin, int64_t end) {
    kernel(args, begin * kPiece, std::min(args.size, end * kPiece));
  });
}

}  // namespace millrace
