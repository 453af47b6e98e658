#include <cmath>

#include "base/error.h"
#include "kernels/adamw/adamw.h"

namespace millrace {

void adamw_step_reference(const AdamWBuffers& buffers, const AdamWOptions& options,
                          const torch::Tensor& clip_coefficient) {
  const torch::NoGradGuard no_grad;
  const auto is_bf16 = [](const torch::Tensor& x) { return x.scalar_type() == torch::kBFloat16; };
  MILLRACE_CHECK(!options.stochastic_rounding || !(is_bf16(buffers.param) || is_bf16(buffers.exp_avg)));
  const auto to_fp32 = [](const torch::Tensor& x) {
    return x.to(torch::kFloat32, /*non_blocking=*/false, /*copy=*/true);
  };

  torch::Tensor grad = to_fp32(buffers.grad);
  if (clip_coefficient.defined()) grad.mul_(clip_coefficient);
  torch::Tensor param = to_fp32(buffers.param);
  param.mul_(1 - options.lr * options.weight_decay);
  buffers.exp_avg.copy_(to_fp32(buffers.exp_avg).lerp_(grad, 1 - options.beta1));
  buffers.exp_avg_sq.copy_(to_fp32(buffers.exp_avg_sq).mul_(options.beta2).addcmul_(grad, grad, 1 - options.beta2));

  const double step = static_cast<double>(options.step);
  const double step_size = options.lr / (1 - std::pow(options.beta1, step));
  const double bias_correction2_sqrt = std::sqrt(1 - std::pow(options.beta2, step));
  const torch::Tensor denominator = (to_fp32(buffers.exp_avg_sq).sqrt_() / bias_correction2_sqrt).add_(options.eps);
  param.addcdiv_(to_fp32(buffers.exp_avg), denominator, -step_size);
  buffers.param.copy_(param);
  if (buffers.model_copy.defined()) buffers.model_copy.copy_(buffers.param);
  if (buffers.ema.defined()) buffers.ema.lerp_(to_fp32(buffers.param), 1 - options.ema_decay);
  if (options.zero_grad) buffers.grad.zero_();
}

}  // namespace millrace
