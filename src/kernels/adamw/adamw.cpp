#include "kernels/adamw/adamw.h"

#include <cmath>

#include "kernels/adamw/adamw_cpu.h"
#include "kernels/tensor_args.h"

namespace millrace {
using torch::Tensor;

void adamw_step(const AdamWBuffers& buffers, const AdamWOptions& options, const Tensor& clip_coefficient) {
  for (const Tensor* x : {&buffers.param, &buffers.grad, &buffers.exp_avg, &buffers.exp_avg_sq}) {
    check_buffer(*x, buffers.param);
  }
  MILLRACE_CHECK(buffers.exp_avg.scalar_type() == buffers.exp_avg_sq.scalar_type());
  if (buffers.model_copy.defined()) {
    check_buffer(buffers.model_copy, buffers.param);
    MILLRACE_CHECK(buffers.model_copy.scalar_type() == torch::kBFloat16);
  }
  if (buffers.ema.defined()) {
    check_buffer(buffers.ema, buffers.param);
    MILLRACE_CHECK(buffers.ema.scalar_type() == torch::kFloat32);
  }
  if (clip_coefficient.defined()) {
    MILLRACE_CHECK(clip_coefficient.numel() == 1 && clip_coefficient.scalar_type() == torch::kFloat32);
    MILLRACE_CHECK(clip_coefficient.device() == buffers.param.device());
  }
  MILLRACE_CHECK(options.step >= 1 && buffers.stream < (uint64_t{1} << 62));
  constexpr uint64_t kStreamElements = uint64_t{1} << 35;  // two to a word
  MILLRACE_CHECK(buffers.first_element + static_cast<uint64_t>(buffers.param.numel()) <= kStreamElements);

  if (nothing_to_compute(buffers.param)) return;
  const double step = static_cast<double>(options.step);
  const auto stream = [&](RoundedTensor tensor) {
    return rounding_stream(options.seed, options.step, buffers.stream, tensor);
  };
  const AdamWArgs args{
      .size = buffers.param.numel(),
      .param_type = element_type(buffers.param),
      .grad_type = element_type(buffers.grad),
      .moment_type = element_type(buffers.exp_avg),
      .param = buffers.param.data_ptr(),
      .grad = buffers.grad.data_ptr(),
      .exp_avg = buffers.exp_avg.data_ptr(),
      .exp_avg_sq = buffers.exp_avg_sq.data_ptr(),
      .model_copy = buffers.model_copy.defined() ? buffers.model_copy.data_ptr() : nullptr,
      .ema = buffers.ema.defined() ? buffers.ema.data_ptr<float>() : nullptr,
      .first_element = buffers.first_element,
      .clip_coefficient = clip_coefficient.defined() ? clip_coefficient.data_ptr<float>() : nullptr,
      .decay = static_cast<float>(1 - options.lr * options.weight_decay),
      .one_minus_beta1 = static_cast<float>(1 - options.beta1),
      .beta2 = static_cast<float>(options.beta2),
      .one_minus_beta2 = static_cast<float>(1 - options.beta2),
      .bias_correction2_sqrt = static_cast<float>(std::sqrt(1 - std::pow(options.beta2, step))),
      .step_size = static_cast<float>(options.lr / (1 - std::pow(options.beta1, step))),
      .eps = static_cast<float>(options.eps),
      .one_minus_ema_decay = static_cast<float>(1 - options.ema_decay),
      .zero_grad = options.zero_grad,
      .stochastic = options.stochastic_rounding,
      .param_stream = stream(RoundedTensor::kParam),
      .exp_avg_stream = stream(RoundedTensor::kExpAvg),
      .exp_avg_sq_stream = stream(RoundedTensor::kExpAvgSq),
  };
  if (on_cuda(buffers.param)) {
    const DeviceScope scope(buffers.param);
    adamw_cuda(args, cuda_stream(buffers.param));
  } else {
    adamw_cpu(args);
  }
}

}  // namespace millrace
