#include "kernels/adamw8bit/adamw8bit.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "kernels/adamw8bit/adamw8bit_raw.h"
#include "kernels/cpu_level.h"
#include "kernels/rounding_stream.h"
#include "kernels/tensor_args.h"

namespace millrace {
namespace {

using torch::Tensor;

void check_buffer(const Tensor& x, const Tensor& like, torch::Dtype dtype, int64_t size) {
  MILLRACE_CHECK(x.dim() == 1 && x.is_contiguous() && x.numel() == size && x.device() == like.device());
  MILLRACE_CHECK(x.scalar_type() == dtype);
}

void check_buffers(const AdamW8bitBuffers& buffers, const Tensor& clip_coefficient) {
  const Tensor& param = buffers.param;
  const int64_t size = param.numel(), blocks = quantized_blocks(buffers.first_element, size);
  check_buffer(param, param, param.scalar_type(), size);
  check_buffer(buffers.grad, param, buffers.grad.scalar_type(), size);
  if (buffers.model_copy.defined()) check_buffer(buffers.model_copy, param, torch::kBFloat16, size);
  check_buffer(buffers.m_codes, param, torch::kUInt8, size);
  check_buffer(buffers.v_codes, param, torch::kUInt8, size);
  check_buffer(buffers.m_scales, param, torch::kFloat32, blocks);
  check_buffer(buffers.v_scales, param, torch::kFloat32, blocks);
  if (clip_coefficient.defined()) {
    MILLRACE_CHECK(clip_coefficient.numel() == 1 && clip_coefficient.scalar_type() == torch::kFloat32);
    MILLRACE_CHECK(clip_coefficient.device() == param.device());
  }
  MILLRACE_CHECK(buffers.tables != nullptr && buffers.tables->m_values.device() == param.device());
}

void run(QuantizedPass pass, const AdamW8bitBuffers& buffers, const AdamW8bitOptions& options,
         const Tensor& clip_coefficient, const Tensor& new_m_scales, const Tensor& new_v_scales) {
  check_buffers(buffers, clip_coefficient);
  MILLRACE_CHECK(options.step >= 1 && buffers.first_element >= 0 && buffers.stream < (uint64_t{1} << 62));
  const int64_t blocks = quantized_blocks(buffers.first_element, buffers.param.numel());
  for (const Tensor* scales : {&new_m_scales, &new_v_scales}) {
    if (scales->defined()) check_buffer(*scales, buffers.param, torch::kFloat32, blocks);
  }
  if (nothing_to_compute(buffers.param)) return;
  const double step = static_cast<double>(options.step);
  const double bias_correction2_sqrt = std::sqrt(1 - std::pow(options.beta2, step));
  const CodeTables& tables = *buffers.tables;
  const auto floats_of = [](const Tensor& x) { return x.defined() ? x.data_ptr<float>() : nullptr; };
  const AdamW8bitArgs args{
      .size = buffers.param.numel(),
      .first_element = buffers.first_element,
      .param_type = element_type(buffers.param),
      .grad_type = element_type(buffers.grad),
      .param = buffers.param.data_ptr(),
      .grad = buffers.grad.data_ptr(),
      .model_copy = buffers.model_copy.defined() ? buffers.model_copy.data_ptr() : nullptr,
      .m_codes = buffers.m_codes.data_ptr<uint8_t>(),
      .v_codes = buffers.v_codes.data_ptr<uint8_t>(),
      .m_scales = buffers.m_scales.data_ptr<float>(),
      .v_scales = buffers.v_scales.data_ptr<float>(),
      .new_m_scales = floats_of(new_m_scales),
      .new_v_scales = floats_of(new_v_scales),
      .m_values = tables.m_values.data_ptr<float>(),
      .v_values = tables.v_values.data_ptr<float>(),
      .m_middles = tables.m_middles.data_ptr<float>(),
      .v_middles = tables.v_middles.data_ptr<float>(),
      .clip_coefficient = floats_of(clip_coefficient),
      .decay = static_cast<float>(1 - options.lr * options.weight_decay),
      .beta1 = static_cast<float>(options.beta1),
      .one_minus_beta1 = static_cast<float>(1 - options.beta1),
      .beta2 = static_cast<float>(options.beta2),
      .one_minus_beta2 = static_cast<float>(1 - options.beta2),
      .step_size = static_cast<float>(options.lr * bias_correction2_sqrt / (1 - std::pow(options.beta1, step))),
      .eps = static_cast<float>(options.eps * bias_correction2_sqrt),
      .stochastic = options.stochastic_rounding,
      .param_stream = rounding_stream(options.seed, options.step, buffers.stream, RoundedTensor::kParam),
  };
  if (on_cuda(buffers.param)) {
    const DeviceScope scope(buffers.param);
    adamw8bit_cuda(pass, args, blocks, cuda_stream(buffers.param));
    return;
  }
  const auto kernel =
      MILLRACE_SELECT_KERNELS(adamw8bit_kernels)
          .update[static_cast<int>(pass)][static_cast<int>(args.param_type)][static_cast<int>(args.grad_type)];
  constexpr int64_t kBlocksPerThread = 16;
  at::parallel_for(0, blocks, kBlocksPerThread, [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
}

}  // namespace

int64_t quantized_blocks(int64_t first, int64_t size) {
  if (size == 0) return 0;
  return (first + size - 1) / kQuantizedBlock - first / kQuantizedBlock + 1;
}

void adamw8bit_step(const AdamW8bitBuffers& buffers, const AdamW8bitOptions& options, const Tensor& clip_coefficient) {
  run(QuantizedPass::kWhole, buffers, options, clip_coefficient, {}, {});
}

void adamw8bit_gather_scales(const AdamW8bitBuffers& buffers, const AdamW8bitOptions& options,
                             const Tensor& clip_coefficient, const Tensor& new_m_scales, const Tensor& new_v_scales) {
  run(QuantizedPass::kGatherScales, buffers, options, clip_coefficient, new_m_scales, new_v_scales);
}

void adamw8bit_step_with_scales(const AdamW8bitBuffers& buffers, const AdamW8bitOptions& options,
                                const Tensor& clip_coefficient, const Tensor& new_m_scales,
                                const Tensor& new_v_scales) {
  run(QuantizedPass::kWithScales, buffers, options, clip_coefficient, new_m_scales, new_v_scales);
}

}  // namespace millrace
