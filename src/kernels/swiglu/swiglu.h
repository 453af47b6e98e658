// y = silu(gate) * up: the gated unit of Llama's feed-forward layers (Shazeer 2020, arXiv 2002.05202),
//   silu(v) = v * sigmoid(v)
//
// Letters: B batch, L tokens, F features. Rows may lie anywhere as long as a row itself is contiguous: gate and up may
// be the halves of one product's output. Tensors are fp32 or bf16, all alike; arithmetic is fp32. Shapes that do not
// fit are LogicErrors.
#pragma once

#include <torch/types.h>

namespace millrace {

// y_BLF may be gate_BLF or up_BLF.
void swiglu_forward(const torch::Tensor& gate_BLF, const torch::Tensor& up_BLF, const torch::Tensor& y_BLF);

// dgate = dy * up * silu'(gate), dup = dy * silu(gate). Each may take the place of its input, and one of them dy's.
void swiglu_backward(const torch::Tensor& dy_BLF, const torch::Tensor& gate_BLF, const torch::Tensor& up_BLF,
                     const torch::Tensor& dgate_BLF, const torch::Tensor& dup_BLF);

// With a graph.
torch::Tensor swiglu(const torch::Tensor& gate_BLF, const torch::Tensor& up_BLF);

// From ATen's operations, in the tensors' type throughout.
torch::Tensor swiglu_reference(const torch::Tensor& gate_BLF, const torch::Tensor& up_BLF);

}  // namespace millrace
