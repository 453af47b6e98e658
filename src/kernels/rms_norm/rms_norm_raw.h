// rms_norm on raw memory: the CPU levels' table and the GPU entry points. See rms_norm.h for the letters.
#pragma once

#include "kernels/raw.h"

namespace millrace {

struct RmsNormForwardArgs {
  int64_t batch, length, dim;
  ElementType type;  // of x, branch, sum and y
  float eps;
  Rows x, branch, sum, y;  // branch and sum: or absent
  FloatRows weight;
  float* rstd;  // [B*L], or null
};

struct RmsNormBackwardArgs {
  int64_t batch, length, dim;
  ElementType type;  // of dy, x and dx
  Rows dy, x, dx;
  bool accumulate_dx;
  FloatRows weight;
  const float* rstd;  // [B*L]
  FloatRows dweight;  // or absent
  bool accumulate_dweight;
};

struct RmsNormKernels {
  // Rows [begin, end) of the flattened [B*L]. Indexed by ElementType.
  void (*forward[2])(const RmsNormForwardArgs& args, int64_t begin, int64_t end);
  // dweight: [D], gets its sum over these rows; or null.
  void (*backward[2])(const RmsNormBackwardArgs& args, int64_t begin, int64_t end, float* dweight);
};
extern const RmsNormKernels rms_norm_kernels_v2, rms_norm_kernels_v3, rms_norm_kernels_v4;

// stream: a cudaStream_t. partials: fp32 scratch of rms_norm_partials_size() elements.
void rms_norm_forward_cuda(const RmsNormForwardArgs& args, void* stream);
int64_t rms_norm_partials_size(const RmsNormBackwardArgs& args);
void rms_norm_backward_cuda(const RmsNormBackwardArgs& args, float* partials, void* stream);

}  // namespace millrace
