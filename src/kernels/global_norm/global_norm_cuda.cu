#include "kernels/cuda_util.cuh"
#include "kernels/global_norm/global_norm_raw.h"

namespace millrace {
namespace {

constexpr const char* kOp = "global_norm";
constexpr int kThreads = 256;
constexpr int64_t kElementsPerBlock = 16384;
constexpr int64_t kMaxBlocks = 2048;

int64_t num_blocks(int64_t n) {
  const int64_t blocks = (n + kElementsPerBlock - 1) / kElementsPerBlock;
  return blocks < kMaxBlocks ? blocks : kMaxBlocks;
}

// The block's sum in thread 0; in a fixed order.
__device__ __forceinline__ double block_sum(double x) {
  __shared__ double sums[kThreads];
  sums[threadIdx.x] = x;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (static_cast<int>(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  return sums[0];
}

template <typename T, int N>
__global__ void sum_of_squares_kernel(const T* x, int64_t n, double* partials) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads * N;
  int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
  double sum = 0, other = 0;
  // Two loads under way at a time, for two sums.
  for (; i + step + N <= n; i += 2 * step) {
    float v[N], w[N];
    load<N>(x + i, v);
    load<N>(x + i + step, w);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      sum += static_cast<double>(v[j]) * static_cast<double>(v[j]);
      other += static_cast<double>(w[j]) * static_cast<double>(w[j]);
    }
  }
  for (; i + N <= n; i += step) {
    float v[N];
    load<N>(x + i, v);
#pragma unroll
    for (int j = 0; j < N; ++j) sum += static_cast<double>(v[j]) * static_cast<double>(v[j]);
  }
  for (int64_t j = i; j < n && j < i + N; ++j) {
    const double v = static_cast<double>(to_float(x[j]));
    sum += v * v;
  }
  sum = block_sum(sum + other);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void add_partials_kernel(const double* partials, int64_t count, double* total) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) sum += partials[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *total += sum;
}

// Infinities and NaNs have all exponent bits set.
__device__ __forceinline__ bool is_nonfinite(float x) {
  return (__float_as_uint(x) & 0x7F800000u) == 0x7F800000u;
}

template <typename T>
__global__ void first_nonfinite_kernel(const T* x, int64_t n, int64_t* index) {
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n;
       i += static_cast<int64_t>(gridDim.x) * kThreads) {
    if (!is_nonfinite(to_float(x[i]))) continue;
    // A minimum does not depend on the order. An index is never negative, so unsigned comparison works.
    atomicMin(reinterpret_cast<unsigned long long*>(index), static_cast<unsigned long long>(i));
    return;  // later indexes of this thread are larger
  }
}

template <typename T>
void sum_of_squares(const T* x, int64_t n, double* partials, GpuStream stream) {
  const int64_t blocks = num_blocks(n);
  if (is_aligned(x, 16)) {
    launch(kOp, sum_of_squares_kernel<T, kPack<T>>, blocks, kThreads, 0, stream, x, n, partials);
  } else {
    launch(kOp, sum_of_squares_kernel<T, 1>, blocks, kThreads, 0, stream, x, n, partials);
  }
}

}  // namespace

int64_t sum_of_squares_partials_size(int64_t n) {
  return num_blocks(n);
}

void add_sum_of_squares_cuda(ElementType type, const void* x, int64_t n, double* partials, double* sum, void* stream) {
  const auto gpu_stream = static_cast<GpuStream>(stream);
  if (type == ElementType::kF32) {
    sum_of_squares(static_cast<const float*>(x), n, partials, gpu_stream);
  } else {
    sum_of_squares(static_cast<const bf16*>(x), n, partials, gpu_stream);
  }
  launch(kOp, add_partials_kernel, 1, kThreads, 0, gpu_stream, partials, num_blocks(n), sum);
}

void first_nonfinite_cuda(ElementType type, const void* x, int64_t n, int64_t* index, void* stream) {
  const auto gpu_stream = static_cast<GpuStream>(stream);
  const int64_t blocks = num_blocks(n);
  if (type == ElementType::kF32) {
    launch(kOp, first_nonfinite_kernel<float>, blocks, kThreads, 0, gpu_stream, static_cast<const float*>(x), n, index);
  } else {
    launch(kOp, first_nonfinite_kernel<bf16>, blocks, kThreads, 0, gpu_stream, static_cast<const bf16*>(x), n, index);
  }
}

}  // namespace millrace
