// cross_entropy on raw memory: the CPU levels' table and the GPU entry point. See cross_entropy.h for the letters.
#pragma once

#include "kernels/raw.h"

namespace millrace {

struct CrossEntropyArgs {
  int64_t rows, classes;
  ElementType type;
  Rows logits;  // a batch of one
  const int64_t* labels;
  float* losses;
  bool with_gradient;
  float scale;
};

struct CrossEntropyKernels {
  // Rows [begin, end). Indexed by ElementType.
  void (*rows[2])(const CrossEntropyArgs& args, int64_t begin, int64_t end);
};
extern const CrossEntropyKernels cross_entropy_kernels_v2, cross_entropy_kernels_v3, cross_entropy_kernels_v4;

// stream: a cudaStream_t.
void cross_entropy_cuda(const CrossEntropyArgs& args, void* stream);

}  // namespace millrace
