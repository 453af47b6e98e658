// Matrix products into existing buffers.
//
// ATen sends fp32 products on a CPU to MKL. On AMD's processors with AVX-512, oneDNN, which libtorch also includes, is
// 5 to 15 % faster on a transformer's shapes, three times on a product of two rows
// (benchmarks/results/flux_step_cpu.md); without AVX-512 libtorch's entry to oneDNN refuses to work. On Intel's
// processors with AMX, which libraries do not use for fp32, large products go to kernels/gemm_fp32. A row by a matrix,
// which MKL multiplies on one core, goes to kernels/gemv everywhere.
// The choice depends on make and instruction set, never on a clock, so that a resumed run makes the same one. In bf16 a
// product with a transposed matrix, as weights are, goes to kernels/linear_bf16 if the processor supports it.
//
// No call of a library has an operand of 2^31 elements or more: larger products are cut (product_tiles.h). Where sums
// are cut, their parts are added in fp32 before they are rounded.
#pragma once

#include <torch/types.h>

#include "nn/product_tiles.h"

namespace millrace {

// out_MN = a_MK * b_KN, or out_MN += with accumulate. Any strides, one dtype and device. The same inputs give the same
// bits on the same processor.
void gemm(torch::Tensor& out_MN, const torch::Tensor& a_MK, const torch::Tensor& b_KN, bool accumulate = false);

// Tests cut small products: while it lives, every operand is at most so large. One at a time.
class OperandLimit {
 public:
  explicit OperandLimit(int64_t elements);
  ~OperandLimit();
  OperandLimit(const OperandLimit&) = delete;
  OperandLimit& operator=(const OperandLimit&) = delete;
};

// The product as a new tensor; bias_N, if defined, is added to every row.
torch::Tensor matrix_product(const torch::Tensor& a_MK, const torch::Tensor& b_KN, const torch::Tensor& bias_N = {});

}  // namespace millrace
