#include "kernels/gemv/gemv.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "base/error.h"
#include "kernels/cpu_level.h"
#include "kernels/gemv/gemv_raw.h"

namespace millrace {

bool suits_gemv(const torch::Tensor& out_N, const torch::Tensor& weight_NK, const torch::Tensor& x_K) {
  const torch::Dtype type = weight_NK.scalar_type();
  if (!weight_NK.is_cpu() || (type != torch::kFloat32 && type != torch::kBFloat16) || weight_NK.dim() != 2)
    return false;
  const auto is_vector = [&](const torch::Tensor& x, int64_t size) {
    return x.is_cpu() && x.scalar_type() == type && x.dim() == 1 && x.size(0) == size &&
           (x.stride(0) == 1 || size <= 1);
  };
  return weight_NK.size(1) > 0 && (weight_NK.stride(1) == 1 || weight_NK.size(1) == 1) &&
         is_vector(out_N, weight_NK.size(0)) && is_vector(x_K, weight_NK.size(1));
}

void gemv(const torch::Tensor& out_N, const torch::Tensor& weight_NK, const torch::Tensor& x_K) {
  constexpr int64_t kMinElements = 1 << 15;  // that a thread is worth
  MILLRACE_CHECK(suits_gemv(out_N, weight_NK, x_K));
  const GemvKernels& kernels = MILLRACE_SELECT_KERNELS(gemv_kernels);
  const bool is_fp32 = weight_NK.scalar_type() == torch::kFloat32;
  const GemvArgs args{.type = is_fp32 ? ElementType::kF32 : ElementType::kBF16,
                      .weight = weight_NK.const_data_ptr(),
                      .weight_stride = weight_NK.stride(0),
                      .depth = weight_NK.size(1),
                      .x = x_K.const_data_ptr(),
                      .out = out_N.data_ptr()};
  at::parallel_for(0, weight_NK.size(0), std::max<int64_t>(1, kMinElements / args.depth),
                   [&](int64_t begin, int64_t end) { kernels.multiply(args, begin, end); });
}

}  // namespace millrace
