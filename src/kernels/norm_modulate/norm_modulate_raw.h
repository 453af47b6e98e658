// norm_modulate on raw memory: the CPU levels' table and the CUDA entry points. See norm_modulate.h for the letters.
#pragma once

#include "kernels/raw.h"

namespace millrace {

struct NormModulateForwardArgs {
  int64_t batch, length, dim;
  ElementType type;  // of x and y
  float eps;
  Rows x, y;
  FloatRows shift, scale;
  float *mean, *rstd;  // [B*L], or null
};

struct NormModulateBackwardArgs {
  int64_t batch, length, dim;
  ElementType type;  // of dy, x and dx
  Rows dy, x, dx;
  bool accumulate_dx;
  FloatRows scale;
  const float *mean, *rstd;  // [B*L]
  FloatRows dshift, dscale;
};

struct NormModulateKernels {
  // Rows [begin, end) of the flattened [B*L]. Indexed by ElementType.
  void (*forward[2])(const NormModulateForwardArgs& args, int64_t begin, int64_t end);
  // Rows [begin, end) of sample b; dshift and dscale [D] get their sums over these rows.
  void (*backward[2])(const NormModulateBackwardArgs& args, int64_t b, int64_t begin, int64_t end, float* dshift,
                      float* dscale);
};
extern const NormModulateKernels norm_modulate_kernels_v2, norm_modulate_kernels_v3, norm_modulate_kernels_v4;

// stream: a cudaStream_t. partials: fp32 scratch of norm_modulate_partials_size() elements.
void norm_modulate_forward_cuda(const NormModulateForwardArgs& args, void* stream);
int64_t norm_modulate_partials_size(const NormModulateBackwardArgs& args);
void norm_modulate_backward_cuda(const NormModulateBackwardArgs& args, float* partials, void* stream);

}  // namespace millrace
