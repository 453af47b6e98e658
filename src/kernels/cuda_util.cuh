// Shared by the GPU kernels: packs of 16 bytes, sums over a block, the second stage of sums over rows. Included by
// *_cuda.cu files only, which are compiled as CUDA or as HIP (gpu_portability.cuh).
//
// A kernel is compiled for packs of 16 bytes and for single elements; the host chooses packs if every pointer, stride
// and size allows them. Indexes are 64-bit throughout.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/gpu_portability.cuh"
#include "kernels/raw.h"

namespace millrace {
namespace {

template <typename T>
constexpr int kPack = 16 / static_cast<int>(sizeof(T));

__device__ __forceinline__ float to_float(float x) {
  return x;
}
__device__ __forceinline__ float to_float(bf16 x) {
  return bf16_to_float(x);
}
template <typename T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float x) {
  return float_to_bf16(x);
}

// N elements in one access; p is aligned to all of them.
template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
  T values[N];
};
template <int N, typename T>
__device__ __forceinline__ void load(const T* p, float (&x)[N]) {
  const Pack<T, N> pack = *reinterpret_cast<const Pack<T, N>*>(p);
#pragma unroll
  for (int j = 0; j < N; ++j) x[j] = to_float(pack.values[j]);
}
template <int N, typename T>
__device__ __forceinline__ Pack<T, N> packed(const float (&x)[N]) {
  Pack<T, N> pack;
#pragma unroll
  for (int j = 0; j < N; ++j) pack.values[j] = from_float<T>(x[j]);
  return pack;
}
// p: in global memory.
template <int N, typename T>
__device__ __forceinline__ void store(T* p, const float (&x)[N]) {
  const Pack<T, N> pack = packed<N, T>(x);
  if constexpr (sizeof(pack) == 16) {
    uint4 words;
    memcpy(&words, &pack, sizeof words);
    store_16_bytes(p, words);
  } else {
    *reinterpret_cast<Pack<T, N>*>(p) = pack;
  }
}
// fp32 in steps of at most 16 bytes.
template <int N>
__device__ __forceinline__ void load_fp32(const float* p, float (&x)[N]) {
  if constexpr (N == 8) {
    float low[4], high[4];
    load<4>(p, low);
    load<4>(p + 4, high);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      x[j] = low[j];
      x[4 + j] = high[j];
    }
  } else {
    load<N>(p, x);
  }
}
// p: in global or shared memory.
template <int N>
__device__ __forceinline__ void store_fp32(float* p, const float (&x)[N]) {
  if constexpr (N == 8) {
    const float low[4] = {x[0], x[1], x[2], x[3]}, high[4] = {x[4], x[5], x[6], x[7]};
    *reinterpret_cast<Pack<float, 4>*>(p) = packed<4, float>(low);
    *reinterpret_cast<Pack<float, 4>*>(p + 4) = packed<4, float>(high);
  } else {
    *reinterpret_cast<Pack<float, N>*>(p) = packed<N, float>(x);
  }
}
template <int N>
__device__ __forceinline__ void add_fp32(float* p, const float (&x)[N]) {
  float sum[N];
  load_fp32<N>(p, sum);
#pragma unroll
  for (int j = 0; j < N; ++j) sum[j] += x[j];
  store_fp32<N>(p, sum);
}

template <int N>
__device__ __forceinline__ void load_floats(const FloatRows& rows, int64_t b, int64_t i, float (&x)[N]) {
  const int64_t at = b * rows.batch_stride + i;
  if (rows.type == ElementType::kF32) {
    load_fp32<N>(static_cast<const float*>(rows.data) + at, x);
  } else {
    load<N>(static_cast<const bf16*>(rows.data) + at, x);
  }
}
// Zeros where there are none.
template <int N>
__device__ __forceinline__ void load_floats_or_zeros(const FloatRows& rows, int64_t b, int64_t i, float (&x)[N]) {
  if (rows.data != nullptr) {
    load_floats<N>(rows, b, i, x);
  } else {
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] = 0.0f;
  }
}
__device__ __forceinline__ void store_sum(const FloatRows& rows, int64_t b, int64_t i, float sum, bool accumulate) {
  const int64_t at = b * rows.batch_stride + i;
  if (rows.type == ElementType::kF32) {
    float* p = static_cast<float*>(rows.data) + at;
    *p = accumulate ? *p + sum : sum;
  } else {
    bf16* p = static_cast<bf16*>(rows.data) + at;
    *p = float_to_bf16(accumulate ? bf16_to_float(*p) + sum : sum);
  }
}

template <typename T>
__device__ __forceinline__ T* row_at(const Rows& rows, int64_t b, int64_t l) {
  return static_cast<T*>(rows.data) + b * rows.batch_stride + l * rows.row_stride;
}

inline bool is_aligned(const void* p, size_t bytes) {
  return reinterpret_cast<uintptr_t>(p) % bytes == 0;
}
// Whether these rows can be accessed in packs of `pack` elements of `element_size` bytes.
inline bool packable(const Rows& rows, int pack, int element_size) {
  return is_aligned(rows.data, static_cast<size_t>(pack) * element_size) && rows.batch_stride % pack == 0 &&
         rows.row_stride % pack == 0;
}
inline bool packable(const FloatRows& rows, int pack) {
  return rows.data == nullptr || (is_aligned(rows.data, 16) && rows.batch_stride % (pack > 4 ? pack : 4) == 0);
}

// The sum over the kLanes lanes of a group, returned in each of them.
__device__ __forceinline__ float lane_sum(float x) {
#pragma unroll
  for (int mask = kLanes / 2; mask > 0; mask /= 2) x += lane_xor(x, mask);
  return x;
}

constexpr int kMaxLaneGroups = 1024 / kLanes;  // of a block
// K sums over the block, in every thread, in a fixed order. blockDim.x is a multiple of kLanes. scratch: shared.
template <int K>
__device__ __forceinline__ void block_sums(float (&x)[K], float (*scratch)[K]) {
  const int group = static_cast<int>(threadIdx.x) / kLanes, lane = static_cast<int>(threadIdx.x) % kLanes;
#pragma unroll
  for (int k = 0; k < K; ++k) x[k] = lane_sum(x[k]);
  __syncthreads();  // the last use of scratch is over
  if (lane == 0) {
#pragma unroll
    for (int k = 0; k < K; ++k) scratch[group][k] = x[k];
  }
  __syncthreads();
#pragma unroll
  for (int k = 0; k < K; ++k) {
    float sum = 0;
    for (int g = 0; g < static_cast<int>(blockDim.x) / kLanes; ++g) sum += scratch[g][k];
    x[k] = sum;
  }
}

// Threads for rows of this many packs.
inline int threads_for(int64_t packs) {
  return packs >= 256 ? 256 : packs >= 128 ? 128 : packs >= 64 ? 64 : kLanes;
}

// Sums over chunks, the second stage of every sum over rows: out[b, i] = sum over c of
// partials[(b * count + c) * stride + i] for i < n, in a fixed order; blocks of 32 columns by 8 groups of chunks.
constexpr int kSumColumns = 32, kSumGroups = 8;
__global__ void sum_partials_kernel(const float* partials, int64_t count, int64_t stride, int64_t n,
                                    int64_t column_blocks, FloatRows out, bool accumulate) {
  __shared__ float groups[kSumGroups][kSumColumns];
  const int64_t b = blockIdx.x / column_blocks;
  const int64_t i = (blockIdx.x % column_blocks) * kSumColumns + threadIdx.x;
  float sum = 0;
  if (i < n) {
    for (int64_t c = threadIdx.y; c < count; c += kSumGroups) sum += partials[(b * count + c) * stride + i];
  }
  groups[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || i >= n) return;
  sum = 0;
  for (int g = 0; g < kSumGroups; ++g) sum += groups[g][threadIdx.x];
  store_sum(out, b, i, sum, accumulate);
}

inline void sum_partials(const float* partials, int64_t batch, int64_t count, int64_t stride, int64_t n,
                         const FloatRows& out, bool accumulate, GpuStream stream, const char* op) {
  if (batch == 0 || n == 0) return;
  const int64_t column_blocks = (n + kSumColumns - 1) / kSumColumns;
  launch(op, sum_partials_kernel, batch * column_blocks, dim3(kSumColumns, kSumGroups), 0, stream, partials, count,
         stride, n, column_blocks, out, accumulate);
}

// Shared memory for a kernel that keeps `bytes` of sums per block: 0 if that is too much, so that the kernel sums in
// global memory instead.
template <typename Kernel>
size_t shared_sums_bytes(Kernel kernel, int64_t bytes, const char* op) {
  constexpr int64_t kWithoutAsking = 40 * 1024;
  if (bytes > shared_memory_budget()) return 0;
  if (bytes > kWithoutAsking) {
    int limit = 0;
    check_gpu(shared_memory_limit(&limit), op);
    if (bytes + 2048 > limit) return 0;
    // Set per kernel, not per launch: always the same number.
    const int64_t most = std::min<int64_t>(shared_memory_budget(), limit - 2048);
    check_gpu(allow_shared_memory(kernel, static_cast<int>(most)), op);
  }
  return static_cast<size_t>(bytes);
}

}  // namespace
}  // namespace millrace
