// rotary on raw memory: the CPU levels' table and the GPU entry point. See rotary.h for the letters.
#pragma once

#include "kernels/raw.h"

namespace millrace {

struct RotaryArgs {
  int64_t tokens, heads, pairs;
  ElementType type;
  Rows x;                  // a token is a batch, a head a row
  const float *cos, *sin;  // [T, P]
  float direction;         // -1: by the opposite angles
};

struct RotaryKernels {
  // Tokens [begin, end). Indexed by ElementType.
  void (*rotate[2])(const RotaryArgs& args, int64_t begin, int64_t end);
};
extern const RotaryKernels rotary_kernels_v2, rotary_kernels_v3, rotary_kernels_v4;

// stream: a cudaStream_t.
void rotary_cuda(const RotaryArgs& args, void* stream);

}  // namespace millrace
