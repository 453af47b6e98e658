// Products of bf16 matrices on a CPU with AVX-512's dot products of bf16 pairs (vdpbf16ps), fused with the surrounding
// operations. Libraries first repack the whole weight for these instructions; here each thread repacks the few columns
// that it multiplies next, which then are in its cache.
//
// Letters: M rows, K depth, N columns.
#pragma once

#include <torch/types.h>

namespace millrace {

// The operands of linear_bf16() besides x. Sums are fp32 and rounded once, at the end.
struct LinearBf16 {
  torch::Tensor weight_NK;       // rows contiguous
  torch::Tensor gate_weight_NK;  // or undefined: y = gelu_tanh(x weight^T) * (x gate_weight^T), without the two below
  torch::Tensor bias_N;          // or undefined
  torch::Tensor residual_MN;     // or undefined: added; may be y
};

// Whether linear_bf16() accepts these and is the fastest way to multiply them: on AMD's processors, above a size that
// pays for repacking the weight. Intel's have AMX, which libraries use.
bool suits_linear_bf16(const torch::Tensor& x_MK, const LinearBf16& layer);

// y_MN = x_MK * weight^T, with the operations above. All bf16 on the CPU with contiguous rows. The order of summation
// depends on K alone: neither threads nor other rows change a result. Requires has_bf16_dot_products(), whose
// instructions treat numbers below 1e-38 as zero.
void linear_bf16(const torch::Tensor& y_MN, const torch::Tensor& x_MK, const LinearBf16& layer);

// The same composed of ATen's operations, in any floating dtype.
torch::Tensor linear_bf16_reference(const torch::Tensor& x_MK, const LinearBf16& layer);

}  // namespace millrace
