#include "kernels/gemv/gemv_raw.h"
#include "kernels/simd.h"

namespace millrace {
namespace {

// Row by row: memory is read in its order, which processors fetch ahead.
template <typename T>
void multiply_rows(const GemvArgs& args, int64_t first, int64_t end) {
  const T* const x = static_cast<const T*>(args.x);
  for (int64_t i = first; i < end; ++i) {
    const T* const row = static_cast<const T*>(args.weight) + i * args.weight_stride;
    VecF sum{};
    float sums[1];
    sum_vectors(args.depth, sums,
                [&](int64_t k, auto part, VecF(&acc)[1]) { acc[0] += load(row + k, part) * load(x + k, part); });
    sum[0] = sums[0];
    store(static_cast<T*>(args.out) + i, sum, Partial{1});
  }
}

void multiply(const GemvArgs& args, int64_t first, int64_t end) {
  if (args.type == ElementType::kF32) {
    multiply_rows<float>(args, first, end);
  } else {
    multiply_rows<BF16>(args, first, end);
  }
}

}  // namespace

extern const GemvKernels MILLRACE_ISA_NAME(gemv_kernels);
const GemvKernels MILLRACE_ISA_NAME(gemv_kernels) = {multiply};

}  // namespace millrace
