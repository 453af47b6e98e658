#include "optim/clip.h"

#include <cmath>

#include "base/error.h"
#include "base/log.h"
#include "kernels/global_norm/global_norm.h"

namespace millrace {

torch::Tensor sum_of_squared_gradients(const std::vector<FlatGroup>& groups) {
  MILLRACE_CHECK(!groups.empty());
  const torch::Tensor sum_1 = torch::zeros({1}, torch::dtype(torch::kFloat64).device(groups.front().grad.device()));
  for (const FlatGroup& group : groups) add_sum_of_squares(group.grad, sum_1);
  return sum_1;
}

GradNorm grad_norm_of_sum(const torch::Tensor& sum_1, double max_norm, double scale) {
  const auto fp32 = torch::dtype(torch::kFloat32).device(sum_1.device());
  const GradNorm result = {torch::empty({1}, fp32), torch::empty({1}, fp32)};
  if (scale == 1) {
    clip_coefficient(sum_1, max_norm, result.norm_1, result.coefficient_1);
  } else {
    clip_coefficient(sum_1 * (scale * scale), max_norm, result.norm_1, result.coefficient_1);
    result.coefficient_1.mul_(scale);
  }
  return result;
}

GradNorm global_grad_norm(const std::vector<FlatGroup>& groups, double max_norm) {
  return grad_norm_of_sum(sum_of_squared_gradients(groups), max_norm);
}

double finite_norm(const GradNorm& norm, const std::vector<FlatGroup>& groups) {
  const double value = norm.norm_1.item<float>();
  if (std::isfinite(value)) return value;
  const char* way_out =
      " (try a lower --optimizer.lr, a longer --lr_scheduler.warmup_steps or mixed_precision_param float32)";
  for (const FlatGroup& group : groups) {
    const int64_t index = first_nonfinite(group.grad);
    if (index < 0) continue;
    throw NumericsError(str("[gradient of ", describe_element(group, index), "] expected a finite number, got ",
                            group.grad[index].item<double>(), way_out));
  }
  throw NumericsError(
      str("[gradients] expected a norm that float32 can hold, got finite gradients with norm ", value, way_out));
}

}  // namespace millrace
