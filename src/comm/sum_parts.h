// Sums of parts received from other ranks, on the calling thread alone: it runs alongside the training thread's work.
// All tensors are contiguous, on the CPU and of equal size. `sum` has sum_dtype(the parts' dtype).
#pragma once

#include <torch/types.h>

namespace millrace {

// Whether parts of this dtype can be summed: float32, float64, bfloat16, int32, int64.
bool can_sum(torch::ScalarType dtype);
// float32 for bfloat16, else dtype itself.
torch::ScalarType sum_dtype(torch::ScalarType dtype);

void set_sum(torch::Tensor& sum, const torch::Tensor& part);   // sum = part
void add_part(torch::Tensor& sum, const torch::Tensor& part);  // sum += part
void store_sum(torch::Tensor& out, const torch::Tensor& sum);  // out = sum, rounded to nearest even

}  // namespace millrace
