// gemv_fp32 on raw memory.
#pragma once

#include <cstdint>

namespace millrace {

struct GemvFp32Kernels {
  // out[i] = the sum over k < depth of weight[i * stride + k] * x[k], for i < rows.
  void (*multiply)(const float* weight, int64_t stride, int64_t rows, int64_t depth, const float* x, float* out);
};
extern const GemvFp32Kernels gemv_fp32_kernels_v2, gemv_fp32_kernels_v3, gemv_fp32_kernels_v4;

}  // namespace millrace
