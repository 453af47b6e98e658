#include "kernels/gemv_fp32/gemv_fp32.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "base/error.h"
#include "kernels/cpu_level.h"
#include "kernels/gemv_fp32/gemv_fp32_raw.h"

namespace millrace {

bool suits_gemv_fp32(const torch::Tensor& out_N, const torch::Tensor& weight_NK, const torch::Tensor& x_K) {
  const auto is_vector = [](const torch::Tensor& x, int64_t size) {
    return x.is_cpu() && x.scalar_type() == torch::kFloat32 && x.dim() == 1 && x.size(0) == size &&
           (x.stride(0) == 1 || size <= 1);
  };
  return weight_NK.is_cpu() && weight_NK.scalar_type() == torch::kFloat32 && weight_NK.dim() == 2 &&
         weight_NK.size(1) > 0 && (weight_NK.stride(1) == 1 || weight_NK.size(1) == 1) &&
         is_vector(out_N, weight_NK.size(0)) && is_vector(x_K, weight_NK.size(1));
}

void gemv_fp32(const torch::Tensor& out_N, const torch::Tensor& weight_NK, const torch::Tensor& x_K) {
  constexpr int64_t kMinElements = 1 << 15;  // that a thread is worth
  MILLRACE_CHECK(suits_gemv_fp32(out_N, weight_NK, x_K));
  const GemvFp32Kernels& kernels = MILLRACE_SELECT_KERNELS(gemv_fp32_kernels);
  const int64_t stride = weight_NK.stride(0), depth = weight_NK.size(1);
  const float *const weight = weight_NK.const_data_ptr<float>(), *const x = x_K.const_data_ptr<float>();
  float* const out = out_N.data_ptr<float>();
  at::parallel_for(0, weight_NK.size(0), std::max<int64_t>(1, kMinElements / depth), [&](int64_t begin, int64_t end) {
    kernels.multiply(weight + begin * stride, stride, end - begin, depth, x, out + begin);
  });
}

}  // namespace millrace
