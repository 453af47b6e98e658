// Products of bf16 matrices on a CPU with AVX-512's dot products of bf16 pairs (vdpbf16ps), the step around them
// included. Libraries first write the whole weight anew as those instructions want it; here each thread does so for the
// few columns that it multiplies next, which then lie in its cache.
//
// Letters: M rows, K depth, N columns.
#pragma once

#include <torch/types.h>

namespace millrace {

// What linear_bf16() multiplies x with, and what becomes of the products. Sums are fp32 and rounded once, at the end.
struct LinearBf16 {
  torch::Tensor weight_NK;       // rows contiguous
  torch::Tensor gate_weight_NK;  // or undefined: y = gelu_tanh(x weight^T) * (x gate_weight^T), without the two below
  torch::Tensor bias_N;          // or undefined
  torch::Tensor residual_MN;     // or undefined: added; may be y
};

// Whether linear_bf16() takes these, and is the fastest way to multiply them: on AMD's processors, from a size on that
// pays for writing the weight in another order. Intel's have AMX, whose tiles libraries use.
bool suits_linear_bf16(const torch::Tensor& x_MK, const LinearBf16& layer);

// y_MN = x_MK * weight^T and so on. All bf16 on the CPU with contiguous rows. An element's sum is made in an order that
// depends on K alone: neither the threads nor the other rows change a result. Where has_bf16_dot_products(), whose
// instructions take numbers below 1e-38 for zero.
void linear_bf16(const torch::Tensor& y_MN, const torch::Tensor& x_MK, const LinearBf16& layer);

// The same from ATen's operations, in any floating dtype.
torch::Tensor linear_bf16_reference(const torch::Tensor& x_MK, const LinearBf16& layer);

}  // namespace millrace
