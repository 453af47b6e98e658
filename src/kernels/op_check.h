// Compares a fused op with its composed reference: outputs and all gradients, against the reference in fp64.
//
// Tolerances are derived, not tuned: a fused op's error may be at most twice that of the composed path in the same
// low-precision type (the rule of flash-attention's tests), plus fp32's epsilon.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <torch/types.h>

#include "kernels/self_check.h"

namespace millrace {

using Tensors = std::vector<torch::Tensor>;
// Same inputs in, same outputs out; both keep the graph.
using TensorFunction = std::function<Tensors(const Tensors& inputs)>;

struct OpCase {
  std::string name;
  Tensors inputs;  // fp64 on the CPU; all of them get gradients
  TensorFunction fused, reference;
};

// The outputs for inputs cast to type on device, then the gradients of the inputs, given output gradients drawn from a
// fixed seed; all as fp64 on the CPU.
Tensors outputs_and_gradients(const TensorFunction& function, const Tensors& inputs, torch::ScalarType type,
                              torch::Device device);

// |got - reference| / |reference|, 2-norms; |got| if the reference is zero; NaN if got contains one.
double relative_error(const torch::Tensor& got, const torch::Tensor& reference);

// The pair of error and tolerance with the largest ratio.
KernelCheckResult check_op(const OpCase& op_case, torch::ScalarType type, torch::Device device);

// |<gradient, d> - central difference of the fp64 reference along d| / (|gradient| * |d|) for a random direction d over
// all inputs at once: the fused op's fp32 gradients against no derivative at all.
double finite_difference_error(const OpCase& op_case);

// Normal numbers that depend only on (seed, id), without torch's generator; fp64 on the CPU.
torch::Tensor random_tensor(uint64_t seed, uint64_t id, const std::vector<int64_t>& sizes);

// The cases shared by `millrace verify` on any device, the emulated GPU and the tests. seed: of their random inputs.
std::vector<OpCase> standard_op_cases(uint64_t seed);  // odd sizes, that no pack fits
// Sizes that allow packs of 16 bytes, also at the widths of FLUX and Llama and in slices of wider tensors, where
// backward passes keep more than 40 KiB of sums in shared memory.
std::vector<OpCase> packed_op_cases(uint64_t seed);
std::vector<OpCase> all_op_cases(uint64_t seed);

}  // namespace millrace
