#include <cmath>

#include "base/error.h"
#include "kernels/adamw8bit/adamw8bit.h"

namespace millrace {
namespace {

using torch::Tensor;

// Encodes x into codes and scales, block by block.
void encode(const Tensor& x, const Tensor& middles, int64_t first, const Tensor& codes, const Tensor& scales) {
  const int64_t blocks = scales.numel(), lead = first % kQuantizedBlock;
  const Tensor padded = torch::zeros({blocks * kQuantizedBlock}, x.options());
  padded.narrow(0, lead, x.numel()).copy_(x);
  const Tensor by_block = padded.view({blocks, kQuantizedBlock});
  scales.copy_(by_block.abs().amax(1));
  const Tensor z = by_block / scales.masked_fill(scales == 0, 1).unsqueeze(1);
  const Tensor nearest = torch::bucketize(z, middles);
  codes.copy_(nearest.reshape({-1}).narrow(0, lead, x.numel()));
}

Tensor decode(const Tensor& codes, const Tensor& values, const Tensor& scales, int64_t first) {
  const Tensor scale_of_each =
      scales.repeat_interleave(kQuantizedBlock).narrow(0, first % kQuantizedBlock, codes.numel());
  return values.index_select(0, codes.to(torch::kInt64)) * scale_of_each;
}

}  // namespace

void adamw8bit_step_reference(const AdamW8bitBuffers& buffers, const AdamW8bitOptions& options,
                              const Tensor& clip_coefficient) {
  const torch::NoGradGuard no_grad;
  const CodeTables& tables = *buffers.tables;
  Tensor grad = buffers.grad.to(torch::kFloat32, /*non_blocking=*/false, /*copy=*/true);
  if (clip_coefficient.defined()) grad.mul_(clip_coefficient);
  const Tensor m = decode(buffers.m_codes, tables.m_values, buffers.m_scales, buffers.first_element)
                       .mul_(options.beta1)
                       .add_(grad, 1 - options.beta1);
  const Tensor v = decode(buffers.v_codes, tables.v_values, buffers.v_scales, buffers.first_element)
                       .mul_(options.beta2)
                       .addcmul_(grad, grad, 1 - options.beta2);
  const double step = static_cast<double>(options.step);
  const double bias_correction2_sqrt = std::sqrt(1 - std::pow(options.beta2, step));
  const double step_size = options.lr * bias_correction2_sqrt / (1 - std::pow(options.beta1, step));
  MILLRACE_CHECK(!options.stochastic_rounding || buffers.param.scalar_type() == torch::kFloat32);
  const Tensor param = buffers.param.to(torch::kFloat32);
  param.mul_(1 - options.lr * options.weight_decay)
      .addcdiv_(m, v.sqrt().add_(options.eps * bias_correction2_sqrt), -step_size);
  buffers.param.copy_(param);
  if (buffers.model_copy.defined()) buffers.model_copy.copy_(buffers.param);
  encode(m, tables.m_middles, buffers.first_element, buffers.m_codes, buffers.m_scales);
  encode(v, tables.v_middles, buffers.first_element, buffers.v_codes, buffers.v_scales);
  buffers.grad.zero_();
}

}  // namespace millrace
