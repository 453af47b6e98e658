#include "kernels/cross_entropy/cross_entropy_raw.h"
#include "kernels/cuda_util.cuh"

namespace millrace {
namespace {

constexpr const char* kOp = "cross_entropy";
constexpr float kLowest = -3.4028234663852886e38f;

// The largest over the block, in every thread. scratch: shared.
__device__ __forceinline__ float block_largest(float x, float (*scratch)[1]) {
  const int group = static_cast<int>(threadIdx.x) / kLanes, lane = static_cast<int>(threadIdx.x) % kLanes;
#pragma unroll
  for (int mask = kLanes / 2; mask > 0; mask /= 2) {
    const float other = lane_xor(x, mask);
    x = other > x ? other : x;
  }
  __syncthreads();  // the last use of scratch is over
  if (lane == 0) scratch[group][0] = x;
  __syncthreads();
  for (int g = 0; g < static_cast<int>(blockDim.x) / kLanes; ++g) x = scratch[g][0] > x ? scratch[g][0] : x;
  return x;
}

// One block per row, which it reads two or three times.
template <typename T, int N>
__global__ void rows_kernel(CrossEntropyArgs args) {
  __shared__ float scratch[kMaxLaneGroups][1];
  const int64_t row = blockIdx.x, label = args.labels[row];
  const int64_t own = static_cast<int64_t>(threadIdx.x) * N, step = static_cast<int64_t>(blockDim.x) * N;
  T* const x = row_at<T>(args.logits, 0, row);
  const float chosen = to_float(x[label]);
  float largest = kLowest;
  for (int64_t i = own; i < args.classes; i += step) {
    float v[N];
    load<N>(x + i, v);
#pragma unroll
    for (int j = 0; j < N; ++j) largest = v[j] > largest ? v[j] : largest;
  }
  largest = block_largest(largest, scratch);
  float sum[1] = {0};
  for (int64_t i = own; i < args.classes; i += step) {
    float v[N];
    load<N>(x + i, v);
#pragma unroll
    for (int j = 0; j < N; ++j) sum[0] += expf(v[j] - largest);
  }
  block_sums<1>(sum, scratch);
  const float log_sum = logf(sum[0]);
  if (threadIdx.x == 0) args.losses[row] = log_sum + (largest - chosen);
  if (!args.with_gradient) return;
  const float factor = args.scale / sum[0];
  for (int64_t i = own; i < args.classes; i += step) {
    float v[N];
    load<N>(x + i, v);
#pragma unroll
    for (int j = 0; j < N; ++j) v[j] = expf(v[j] - largest) * factor - (i + j == label ? args.scale : 0.0f);
    store<N>(x + i, v);
  }
}

template <typename T, int N>
void rows(const CrossEntropyArgs& args, GpuStream stream) {
  const int64_t packs = (args.classes + N - 1) / N;
  launch(kOp, rows_kernel<T, N>, args.rows, threads_for(packs), 0, stream, args);
}

template <typename T>
void rows(const CrossEntropyArgs& args, GpuStream stream) {
  constexpr int N = kPack<T>;
  const bool packs = args.classes % N == 0 && packable(args.logits, N, sizeof(T));
  packs ? rows<T, N>(args, stream) : rows<T, 1>(args, stream);
}

}  // namespace

void cross_entropy_cuda(const CrossEntropyArgs& args, void* stream) {
  const auto gpu_stream = static_cast<GpuStream>(stream);
  args.type == ElementType::kF32 ? rows<float>(args, gpu_stream) : rows<bf16>(args, gpu_stream);
}

}  // namespace millrace
