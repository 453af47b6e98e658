// gemv on raw memory.
#pragma once

#include <cstdint>

#include "kernels/raw.h"

namespace millrace {

struct GemvArgs {
  ElementType type;  // of all three
  const void* weight;
  int64_t weight_stride, depth;
  const void* x;
  void* out;
};

struct GemvKernels {
  // out[i] = the sum over k < depth of weight[i * weight_stride + k] * x[k], for first <= i < end.
  void (*multiply)(const GemvArgs& args, int64_t first, int64_t end);
};
extern const GemvKernels gemv_kernels_v2, gemv_kernels_v3, gemv_kernels_v4;

}  // namespace millrace
