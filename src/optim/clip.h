// Clipping by the global gradient norm, and the check that stops a run with non-finite gradients.
#pragma once

#include <vector>

#include "optim/flat_group.h"

namespace millrace {

struct GradNorm {
  torch::Tensor norm_1;         // fp32, one element, on the groups' device: the L2 norm over all gradients
  torch::Tensor coefficient_1;  // factor for the gradients: 1 if the norm is at most max_norm
};

// The sum of all squared gradients: fp64, one element, on the groups' device. If ranks hold different parts, add up
// their sums.
torch::Tensor sum_of_squared_gradients(const std::vector<FlatGroup>& groups);
// scale: a factor for the gradients before clipping. norm_1 is that of the scaled gradients;
// coefficient_1 includes the scale.
GradNorm grad_norm_of_sum(const torch::Tensor& sum_1, double max_norm, double scale = 1);

// torch.nn.utils.clip_grad_norm_'s norm and min(1, max_norm / (norm + 1e-6)) over all groups together; the optimizer
// applies the coefficient. A max_norm of 0 or less clips nothing. Does not wait for the device.
GradNorm global_grad_norm(const std::vector<FlatGroup>& groups, double max_norm);

// The norm as a number; waits for the device. Throws NumericsError naming the first parameter and index whose gradient
// is infinite or not a number.
double finite_norm(const GradNorm& norm, const std::vector<FlatGroup>& groups);

}  // namespace millrace
