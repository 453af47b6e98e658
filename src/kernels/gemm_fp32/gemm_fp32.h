// Products of fp32 matrices on a CPU, for processors with AMX, which libraries do not use for fp32: each number becomes
// three of bf16, whose products and sums are as exact as those of fp32 (gemm_fp32_amx.cpp). Without AMX libraries are
// as fast; the other levels are for attention_fp32. The blocking is that of Goto and van de Geijn 2008, "Anatomy of
// high-performance matrix multiplication".
//
// Letters: M rows, K depth, N columns.
#pragma once

#include <torch/types.h>

namespace millrace {

// Whether gemm_fp32() accepts these matrices and is the fastest way to multiply them: with AMX, above a
// size that pays for packing.
bool suits_gemm_fp32(const torch::Tensor& a_MK, const torch::Tensor& b_KN);

// out_MN = a_MK * b_KN, or out_MN += with accumulate. All fp32 on the CPU; out's rows are contiguous, a and b have any
// strides. The order of summation depends on K alone: neither threads nor other rows and columns change a result.
// With AMX an infinity counts as NaN, and numbers below 1e-38 as zero.
void gemm_fp32(const torch::Tensor& out_MN, const torch::Tensor& a_MK, const torch::Tensor& b_KN,
               bool accumulate = false);

}  // namespace millrace
