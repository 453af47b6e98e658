// Layer norm and modulation of one row by one block, shared by the kernels that include one.
#pragma once

#include "kernels/cuda_util.cuh"

namespace millrace {
namespace {

// Every thread gets the row's mean and 1/sqrt(var + eps). scratch: shared.
template <typename T, int N>
__device__ __forceinline__ void row_moments(const T* x, int64_t dim, float eps, float (*scratch)[1], float* mean,
                                            float* rstd) {
  float sum[1] = {0};
  for (int64_t i = static_cast<int64_t>(threadIdx.x) * N; i < dim; i += static_cast<int64_t>(blockDim.x) * N) {
    float v[N];
    load<N>(x + i, v);
#pragma unroll
    for (int j = 0; j < N; ++j) sum[0] += v[j];
  }
  block_sums<1>(sum, scratch);
  *mean = sum[0] / static_cast<float>(dim);
  sum[0] = 0;
  for (int64_t i = static_cast<int64_t>(threadIdx.x) * N; i < dim; i += static_cast<int64_t>(blockDim.x) * N) {
    float v[N];
    load<N>(x + i, v);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float d = v[j] - *mean;
      sum[0] += d * d;
    }
  }
  block_sums<1>(sum, scratch);
  *rstd = 1.0f / sqrtf(sum[0] / static_cast<float>(dim) + eps);
}

template <typename T, int N>
__device__ __forceinline__ void modulate_row(const T* x, float mean, float rstd, const FloatRows& shift,
                                             const FloatRows& scale, int64_t b, T* y, int64_t dim) {
  for (int64_t i = static_cast<int64_t>(threadIdx.x) * N; i < dim; i += static_cast<int64_t>(blockDim.x) * N) {
    float v[N], shifts[N], scales[N];
    load<N>(x + i, v);
    load_floats<N>(shift, b, i, shifts);
    load_floats<N>(scale, b, i, scales);
#pragma unroll
    for (int j = 0; j < N; ++j) v[j] = (v[j] - mean) * rstd * (1.0f + scales[j]) + shifts[j];
    store<N>(y + i, v);
  }
}

// Adds the row to dshift and dscale, where each thread owns its columns, and returns mean(g) and mean(g * normed) with
// g = dy * (1 + scale). scratch: shared.
template <typename T, int N>
__device__ __forceinline__ void modulate_row_sums(const T* dy, const T* x, float mean, float rstd,
                                                  const FloatRows& scale, int64_t b, float* dshift, float* dscale,
                                                  int64_t dim, float (*scratch)[2], float (&means)[2]) {
  means[0] = means[1] = 0;
  for (int64_t i = static_cast<int64_t>(threadIdx.x) * N; i < dim; i += static_cast<int64_t>(blockDim.x) * N) {
    float gradient[N], v[N], scales[N];
    load<N>(dy + i, gradient);
    load<N>(x + i, v);
    load_floats<N>(scale, b, i, scales);
    add_fp32<N>(dshift + i, gradient);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      v[j] = gradient[j] * ((v[j] - mean) * rstd);
      means[0] += gradient[j] * (1.0f + scales[j]);
      means[1] += v[j] * (1.0f + scales[j]);
    }
    add_fp32<N>(dscale + i, v);
  }
  block_sums<2>(means, scratch);
  means[0] /= static_cast<float>(dim);
  means[1] /= static_cast<float>(dim);
}

__device__ __forceinline__ float modulate_dx(float gradient, float x, float mean, float rstd, float scale,
                                             const float (&means)[2]) {
  const float normed = (x - mean) * rstd;
  return rstd * (gradient * (1.0f + scale) - means[0] - normed * means[1]);
}

}  // namespace
}  // namespace millrace
