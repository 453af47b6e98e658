// The product of an fp32 matrix with one vector on a CPU: writing text consists of such products. All of the matrix is
// read for each, so that what counts is the memory's bandwidth, which one core cannot use up; MKL takes one.
#pragma once

#include <torch/types.h>

namespace millrace {

// Whether gemv_fp32() accepts these: fp32 on the CPU, x, out and the rows of the weight contiguous.
bool suits_gemv_fp32(const torch::Tensor& out_N, const torch::Tensor& weight_NK, const torch::Tensor& x_K);

// out_N = weight_NK * x_K on all cores. Threads do not change a result.
void gemv_fp32(const torch::Tensor& out_N, const torch::Tensor& weight_NK, const torch::Tensor& x_K);

}  // namespace millrace
