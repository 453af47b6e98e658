// Matrix products into buffers that exist.
//
// ATen sends fp32 products on a CPU to MKL, which takes its generic path on AMD processors; oneDNN, which libtorch
// carries too, uses AVX-512 there and is 5 to 15 % faster on a transformer's shapes, three times on a product of two
// rows (benchmarks/results/flux_step_cpu.md). Without AVX-512 libtorch's entry to oneDNN refuses to work; the only
// other one, mkldnn::_linear_pointwise, can neither write into a buffer nor add to one, and with the copy that this
// takes it ran at 0.9 to 1.2 times MKL's speed on a Zen 3 EPYC (forward products gained, weight gradients lost): MKL
// keeps those. The choice is by make and instruction set, never by a clock, so that a resumed run chooses alike. In
// bf16 a product with a matrix that lies transposed, as weights do, goes to kernels/linear_bf16 where the processor has
// what that needs.
#pragma once

#include <torch/types.h>

namespace millrace {

// out_MN = a_MK * b_KN, or out_MN += with accumulate. Any strides, one dtype and device. The same inputs give the same
// bits on the same processor.
void gemm(torch::Tensor& out_MN, const torch::Tensor& a_MK, const torch::Tensor& b_KN, bool accumulate = false);

// The product as a new tensor; bias_N, when defined, is added to every row.
torch::Tensor matrix_product(const torch::Tensor& a_MK, const torch::Tensor& b_KN, const torch::Tensor& bias_N = {});

}  // namespace millrace
