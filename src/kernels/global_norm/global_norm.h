// Sums of squares over flat buffers for gradient clipping, and the search for non-finite elements.
//
// Sums are fp64 in an order that depends on the length and, on a GPU, on the alignment: the same result for any number
// of threads, and on a CPU for any CPU level. Squares of fp32 numbers are exact in fp64 and cannot overflow, so that
// the sum is finite exactly when all elements are.
#pragma once

#include <torch/types.h>

namespace millrace {

// sum_1 (fp64, one element, on x's device) += sum of x^2. x: fp32 or bf16, contiguous, any shape.
void add_sum_of_squares(const torch::Tensor& x, const torch::Tensor& sum_1);

// norm_1 = sqrt(sum_1), coefficient_1 = min(1, max_norm / (norm + 1e-6)) as in torch.nn.utils.clip_grad_norm_; both
// fp32, one element, on sum_1's device, so that no step waits for a GPU. max_norm <= 0: the coefficient is 1.
void clip_coefficient(const torch::Tensor& sum_1, double max_norm, const torch::Tensor& norm_1,
                      const torch::Tensor& coefficient_1);

// Index of the first element that is infinite or not a number; -1 when there is none. Waits for the device.
int64_t first_nonfinite(const torch::Tensor& x);

torch::Tensor sum_of_squares_reference(const torch::Tensor& x);  // fp64, one element

}  // namespace millrace
