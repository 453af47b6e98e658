#include "kernels/gemv_fp32/gemv_fp32_raw.h"
#include "kernels/simd.h"

namespace millrace {
namespace {

// Row by row: memory is read in its order, which processors fetch ahead.
void multiply(const float* weight, int64_t stride, int64_t rows, int64_t depth, const float* x, float* out) {
  for (int64_t i = 0; i < rows; ++i, weight += stride) {
    float sums[1];
    sum_vectors(depth, sums,
                [&](int64_t k, auto part, VecF(&acc)[1]) { acc[0] += load(weight + k, part) * load(x + k, part); });
    out[i] = sums[0];
  }
}

}  // namespace

extern const GemvFp32Kernels MILLRACE_ISA_NAME(gemv_fp32_kernels);
const GemvFp32Kernels MILLRACE_ISA_NAME(gemv_fp32_kernels) = {multiply};

}  // namespace millrace
