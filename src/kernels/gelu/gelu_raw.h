// gelu on raw memory: the CPU levels' table and the CUDA entry points. See gelu.h for the letters.
#pragma once

#include "kernels/raw.h"

namespace millrace {

struct GeluForwardArgs {
  int64_t batch, length, dim;
  ElementType type;  // of x and y
  Rows x, y;
  FloatRows bias;  // or absent
};

struct GeluBackwardArgs {
  int64_t batch, length, dim;
  ElementType type;  // of dy, x and dx
  Rows dy, x, dx;
  FloatRows bias;   // or absent
  FloatRows dbias;  // or absent
  bool accumulate_dbias;
};

struct GeluKernels {
  // Rows [begin, end) of the flattened [B*L]. Indexed by ElementType.
  void (*forward[2])(const GeluForwardArgs& args, int64_t begin, int64_t end);
  // dbias: [M], gets the rows' sum of dx; or null.
  void (*backward[2])(const GeluBackwardArgs& args, int64_t begin, int64_t end, float* dbias);
};
extern const GeluKernels gelu_kernels_v2, gelu_kernels_v3, gelu_kernels_v4;

// stream: a cudaStream_t. partials: fp32 scratch of gelu_partials_size() elements.
void gelu_forward_cuda(const GeluForwardArgs& args, void* stream);
int64_t gelu_partials_size(const GeluBackwardArgs& args);
void gelu_backward_cuda(const GeluBackwardArgs& args, float* partials, void* stream);

}  // namespace millrace
