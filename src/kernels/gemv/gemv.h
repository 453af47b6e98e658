// The product of a matrix with one vector on a CPU: writing text consists of such products. All of the matrix is read
// for each, so that what counts is the memory's bandwidth, which one core cannot use up: MKL takes one, and oneDNN
// repacks a matrix in bf16 first.
#pragma once

#include <torch/types.h>

namespace millrace {

// Whether gemv() accepts these: on the CPU, all fp32 or all bf16; x, out and the rows of the weight contiguous.
bool suits_gemv(const torch::Tensor& out_N, const torch::Tensor& weight_NK, const torch::Tensor& x_K);

// out_N = weight_NK * x_K on all cores. Sums are fp32 and rounded once. Threads do not change a result.
void gemv(const torch::Tensor& out_N, const torch::Tensor& weight_NK, const torch::Tensor& x_K);

}  // namespace millrace
