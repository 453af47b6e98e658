// swiglu on raw memory: the CPU levels' table and the GPU entry points. See swiglu.h for the letters.
#pragma once

#include "kernels/raw.h"

namespace millrace {

struct SwigluForwardArgs {
  int64_t batch, length, dim;
  ElementType type;
  Rows gate, up, y;
};

struct SwigluBackwardArgs {
  int64_t batch, length, dim;
  ElementType type;
  Rows dy, gate, up, dgate, dup;
};

struct SwigluKernels {
  // Rows [begin, end) of the flattened [B*L]. Indexed by ElementType.
  void (*forward[2])(const SwigluForwardArgs& args, int64_t begin, int64_t end);
  void (*backward[2])(const SwigluBackwardArgs& args, int64_t begin, int64_t end);
};
extern const SwigluKernels swiglu_kernels_v2, swiglu_kernels_v3, swiglu_kernels_v4;

// stream: a cudaStream_t.
void swiglu_forward_cuda(const SwigluForwardArgs& args, void* stream);
void swiglu_backward_cuda(const SwigluBackwardArgs& args, void* stream);

}  // namespace millrace
