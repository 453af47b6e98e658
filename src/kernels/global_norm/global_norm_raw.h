// Sums of squares on raw memory: the CPU levels' table and the CUDA entry points. See global_norm.h.
#pragma once

#include "kernels/raw.h"

namespace millrace {

struct GlobalNormKernels {
  // Indexed by ElementType.
  double (*sum_of_squares[2])(const void* x, int64_t n);
};
extern const GlobalNormKernels global_norm_kernels_v2, global_norm_kernels_v3, global_norm_kernels_v4;

// sum[0] += sum of squares. partials: fp64 scratch of sum_of_squares_partials_size(n) elements. stream: a cudaStream_t.
int64_t sum_of_squares_partials_size(int64_t n);
void add_sum_of_squares_cuda(ElementType type, const void* x, int64_t n, double* partials, double* sum, void* stream);
// index[0] = the smaller of itself and the first index whose element is not finite.
void first_nonfinite_cuda(ElementType type, const void* x, int64_t n, int64_t* index, void* stream);

}  // namespace millrace
