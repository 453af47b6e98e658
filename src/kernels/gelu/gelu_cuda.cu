#include "kernels/cuda_util.cuh"
#include "kernels/gelu/gelu_raw.h"

namespace millrace {
namespace {

constexpr const char* kOp = "gelu";
constexpr float kTwoRootTwoOverPi = 1.5957691216057308f;
constexpr float kCubic = 0.044715f;

// Like fminf(fmaxf()), but NaN stays NaN.
__device__ __forceinline__ float clamp(float x, float bound) {
  x = x > bound ? bound : x;
  return x < -bound ? -bound : x;
}

__device__ __forceinline__ float gelu_tanh(float x) {
  const float c = clamp(x, 10.0f);
  const float z = clamp(kTwoRootTwoOverPi * c * (1.0f + kCubic * (c * c)), 87.0f);
  const float bounded = x < -10.0f ? -10.0f : x;
  return bounded / (1.0f + expf(-z));
}

// s + x * s * (1 - s) * z', with s = sigmoid(z) and 1 - s = s * exp(-z), which stays accurate where s is near 1.
__device__ __forceinline__ float gelu_tanh_derivative(float x) {
  const float c = clamp(x, 10.0f), square = c * c;
  const float z = clamp(kTwoRootTwoOverPi * c * (1.0f + kCubic * square), 87.0f);
  const float e = expf(-z), s = 1.0f / (1.0f + e);
  return s + c * s * (s * e) * (kTwoRootTwoOverPi * (1.0f + 3.0f * kCubic * square));
}

// A block takes one tile of columns of `rows_per_block` rows; a thread keeps its N columns.
template <typename T, int N>
__global__ void forward_kernel(GeluForwardArgs args, int64_t columns, int64_t rows_per_block) {
  const int64_t i = ((blockIdx.x % columns) * static_cast<int64_t>(blockDim.x) + threadIdx.x) * N;
  const int64_t first = blockIdx.x / columns * rows_per_block, rows = args.batch * args.length;
  if (i >= args.dim) return;
  float bias[N];
  load_floats_or_zeros<N>(args.bias, 0, i, bias);
  for (int64_t row = first; row < first + rows_per_block && row < rows; ++row) {
    const int64_t b = row / args.length, l = row % args.length;
    float x[N];
    load<N>(row_at<T>(args.x, b, l) + i, x);
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] = gelu_tanh(x[j] + bias[j]);
    store<N>(row_at<T>(args.y, b, l) + i, x);
  }
}

// partials: [chunks, M], the chunks' sums of dx.
template <typename T, int N>
__global__ void backward_kernel(GeluBackwardArgs args, int64_t columns, RowChunks chunks, float* partials) {
  const int64_t i = ((blockIdx.x % columns) * static_cast<int64_t>(blockDim.x) + threadIdx.x) * N;
  const int64_t chunk = blockIdx.x / columns, first = chunk * chunks.rows_per_chunk;
  if (i >= args.dim) return;
  float bias[N], sum[N] = {};
  load_floats_or_zeros<N>(args.bias, 0, i, bias);
  for (int64_t row = first; row < first + chunks.rows_per_chunk && row < chunks.rows; ++row) {
    const int64_t b = row / args.length, l = row % args.length;
    float x[N], dy[N];
    load<N>(row_at<T>(args.x, b, l) + i, x);
    load<N>(row_at<T>(args.dy, b, l) + i, dy);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      dy[j] *= gelu_tanh_derivative(x[j] + bias[j]);
      sum[j] += dy[j];
    }
    store<N>(row_at<T>(args.dx, b, l) + i, dy);
  }
  store_fp32<N>(partials + chunk * args.dim + i, sum);
}

RowChunks chunks_of(const GeluBackwardArgs& args) {
  return RowChunks::make(args.batch * args.length, 16, 1024);
}

template <typename T, int N>
void forward(const GeluForwardArgs& args, GpuStream stream) {
  constexpr int64_t kRowsPerBlock = 4;
  const int64_t packs = (args.dim + N - 1) / N, rows = args.batch * args.length;
  const int threads = threads_for(packs);
  const int64_t columns = (packs + threads - 1) / threads;
  const int64_t blocks = (rows + kRowsPerBlock - 1) / kRowsPerBlock * columns;
  launch(kOp, forward_kernel<T, N>, blocks, threads, 0, stream, args, columns, kRowsPerBlock);
}

template <typename T>
void forward(const GeluForwardArgs& args, GpuStream stream) {
  constexpr int N = kPack<T>;
  const bool packs =
      args.dim % N == 0 && packable(args.x, N, sizeof(T)) && packable(args.y, N, sizeof(T)) && packable(args.bias, N);
  packs ? forward<T, N>(args, stream) : forward<T, 1>(args, stream);
}

template <typename T, int N>
void backward(const GeluBackwardArgs& args, float* partials, GpuStream stream) {
  const RowChunks chunks = chunks_of(args);
  const int64_t packs = (args.dim + N - 1) / N;
  const int threads = threads_for(packs);
  const int64_t columns = (packs + threads - 1) / threads;
  launch(kOp, backward_kernel<T, N>, chunks.count * columns, threads, 0, stream, args, columns, chunks, partials);
}

template <typename T>
void backward(const GeluBackwardArgs& args, float* partials, GpuStream stream) {
  constexpr int N = kPack<T>;
  const bool packs = args.dim % N == 0 && packable(args.dy, N, sizeof(T)) && packable(args.x, N, sizeof(T)) &&
                     packable(args.dx, N, sizeof(T)) && packable(args.bias, N) && is_aligned(partials, 16);
  packs ? backward<T, N>(args, partials, stream) : backward<T, 1>(args, partials, stream);
}

}  // namespace

void gelu_forward_cuda(const GeluForwardArgs& args, void* stream) {
  const auto gpu_stream = static_cast<GpuStream>(stream);
  args.type == ElementType::kF32 ? forward<float>(args, gpu_stream) : forward<bf16>(args, gpu_stream);
}

int64_t gelu_partials_size(const GeluBackwardArgs& args) {
  return chunks_of(args).count * args.dim;
}

void gelu_backward_cuda(const GeluBackwardArgs& args, float* partials, void* stream) {
  const auto gpu_stream = static_cast<GpuStream>(stream);
  const RowChunks chunks = chunks_of(args);
  if (chunks.count > 0 && args.dim > 0) {
    args.type == ElementType::kF32 ? backward<float>(args, partials, gpu_stream)
                                   : backward<bf16>(args, partials, gpu_stream);
  }
  if (args.dbias.data == nullptr) return;
  sum_partials(partials, 1, chunks.count, args.dim, args.dim, args.dbias, args.accumulate_dbias, gpu_stream, kOp);
}

}  // namespace millrace
