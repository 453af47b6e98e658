// Cross entropy of rows of logits, and its gradient in their place:
//   loss = log(sum_v exp(x[v])) - x[label];   x[v] becomes scale * (exp(x[v] - log(sum)) - (v == label))
//
// Letters: R rows, V classes (a vocabulary). logits_RV is fp32 or bf16 with contiguous rows; arithmetic is fp32, and a
// gradient is rounded once. labels_R: int64, contiguous, each in [0, V), which is the caller's duty to check. losses_R:
// fp32, contiguous. Shapes that do not fit are LogicErrors.
#pragma once

#include <torch/types.h>

namespace millrace {

// The losses alone.
void cross_entropy_forward(const torch::Tensor& logits_RV, const torch::Tensor& labels_R,
                           const torch::Tensor& losses_R);
// The losses, and the logits become the gradient of scale times their sum.
void cross_entropy_in_place(const torch::Tensor& logits_RV, const torch::Tensor& labels_R,
                            const torch::Tensor& losses_R, double scale);

// With a graph: losses fp32 [R].
torch::Tensor cross_entropy(const torch::Tensor& logits_RV, const torch::Tensor& labels_R);

// From ATen's operations, in the logits' type but never narrower than fp32.
torch::Tensor cross_entropy_reference(const torch::Tensor& logits_RV, const torch::Tensor& labels_R);

}  // namespace millrace
