#include "kernels/cuda_util.cuh"
#include "kernels/rms_norm/rms_norm_raw.h"

namespace millrace {
namespace {

constexpr const char* kOp = "rms_norm";

// One block per row. A thread reads back what it has written itself, and nothing else.
template <typename T, int N>
__global__ void forward_kernel(RmsNormForwardArgs args) {
  __shared__ float scratch[kMaxLaneGroups][1];
  const int64_t row = blockIdx.x, b = row / args.length, l = row % args.length;
  const int64_t own = static_cast<int64_t>(threadIdx.x) * N, step = static_cast<int64_t>(blockDim.x) * N;
  const bool adds = args.branch.data != nullptr;
  const T* const x = row_at<T>(args.x, b, l);
  T* const sum = adds ? row_at<T>(args.sum, b, l) : nullptr;
  float squares[1] = {0};
  for (int64_t i = own; i < args.dim; i += step) {
    float v[N];
    load<N>(x + i, v);
    if (adds) {
      float other[N];
      load<N>(row_at<T>(args.branch, b, l) + i, other);
#pragma unroll
      for (int j = 0; j < N; ++j) v[j] = to_float(from_float<T>(v[j] + other[j]));
      store<N>(sum + i, v);
    }
#pragma unroll
    for (int j = 0; j < N; ++j) squares[0] += v[j] * v[j];
  }
  block_sums<1>(squares, scratch);
  const float rstd = 1.0f / sqrtf(squares[0] / static_cast<float>(args.dim) + args.eps);
  T* const y = row_at<T>(args.y, b, l);
  const T* const normed = adds ? sum : x;
  for (int64_t i = own; i < args.dim; i += step) {
    float v[N], weight[N];
    load<N>(normed + i, v);
    load_floats<N>(args.weight, 0, i, weight);
#pragma unroll
    for (int j = 0; j < N; ++j) v[j] = v[j] * rstd * weight[j];
    store<N>(y + i, v);
  }
  if (threadIdx.x == 0 && args.rstd != nullptr) args.rstd[row] = rstd;
}

// One block per chunk of rows; partials: [chunks, D], undefined for a frozen weight. Sums are kept in shared memory,
// or, when there is not enough of it, in the partials themselves; a thread only ever touches its own columns.
template <typename T, int N>
__global__ void backward_kernel(RmsNormBackwardArgs args, RowChunks chunks, float* partials, bool in_shared) {
  MILLRACE_DYNAMIC_SHARED(float4, shared_sums);
  __shared__ float scratch[kMaxLaneGroups][1];
  const int64_t dim = args.dim, step = static_cast<int64_t>(blockDim.x) * N;
  const int64_t own = static_cast<int64_t>(threadIdx.x) * N, first = blockIdx.x * chunks.rows_per_chunk;
  const bool trains = args.dweight.data != nullptr;
  float* const partial = partials + static_cast<int64_t>(blockIdx.x) * dim;
  float* const dweight = in_shared ? reinterpret_cast<float*>(shared_sums) : partial;
  if (trains) {
    for (int64_t i = own; i < dim; i += step) {
      for (int j = 0; j < N; ++j) dweight[i + j] = 0;
    }
  }
  for (int64_t row = first; row < first + chunks.rows_per_chunk && row < chunks.rows; ++row) {
    const int64_t b = row / args.length, l = row % args.length;
    const T* const dy = row_at<T>(args.dy, b, l);
    const T* const x = row_at<T>(args.x, b, l);
    T* const dx = row_at<T>(args.dx, b, l);
    const float rstd = args.rstd[row];
    float mean[1] = {0};
    for (int64_t i = own; i < dim; i += step) {
      float gradient[N], v[N], weight[N];
      load<N>(dy + i, gradient);
      load<N>(x + i, v);
      load_floats<N>(args.weight, 0, i, weight);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        gradient[j] *= v[j] * rstd;
        mean[0] += gradient[j] * weight[j];
      }
      if (trains) add_fp32<N>(dweight + i, gradient);
    }
    block_sums<1>(mean, scratch);
    mean[0] /= static_cast<float>(dim);
    for (int64_t i = own; i < dim; i += step) {
      float gradient[N], v[N], weight[N], result[N];
      load<N>(dy + i, gradient);
      load<N>(x + i, v);
      load_floats<N>(args.weight, 0, i, weight);
      if (args.accumulate_dx) {
        load<N>(dx + i, result);
      } else {
#pragma unroll
        for (int j = 0; j < N; ++j) result[j] = 0;
      }
#pragma unroll
      for (int j = 0; j < N; ++j) result[j] += rstd * (gradient[j] * weight[j] - v[j] * rstd * mean[0]);
      store<N>(dx + i, result);
    }
  }
  if (!trains || !in_shared) return;
  for (int64_t i = own; i < dim; i += step) {
    for (int j = 0; j < N; ++j) partial[i + j] = dweight[i + j];
  }
}

RowChunks chunks_of(const RmsNormBackwardArgs& args) {
  return RowChunks::make(args.batch * args.length, 16, 1024);
}

template <typename T, int N>
void forward(const RmsNormForwardArgs& args, GpuStream stream) {
  const int64_t packs = (args.dim + N - 1) / N;
  launch(kOp, forward_kernel<T, N>, args.batch * args.length, threads_for(packs), 0, stream, args);
}

template <typename T>
void forward(const RmsNormForwardArgs& args, GpuStream stream) {
  constexpr int N = kPack<T>;
  const bool packs = args.dim % N == 0 && packable(args.x, N, sizeof(T)) && packable(args.branch, N, sizeof(T)) &&
                     packable(args.sum, N, sizeof(T)) && packable(args.y, N, sizeof(T)) && packable(args.weight, N);
  packs ? forward<T, N>(args, stream) : forward<T, 1>(args, stream);
}

template <typename T, int N>
void backward(const RmsNormBackwardArgs& args, float* partials, GpuStream stream) {
  const RowChunks chunks = chunks_of(args);
  const int64_t packs = (args.dim + N - 1) / N;
  const bool trains = args.dweight.data != nullptr;
  const size_t shared =
      trains ? shared_sums_bytes(backward_kernel<T, N>, args.dim * int64_t{sizeof(float)}, kOp) : size_t{0};
  launch(kOp, backward_kernel<T, N>, chunks.count, threads_for(packs), shared, stream, args, chunks, partials,
         shared > 0);
}

template <typename T>
void backward(const RmsNormBackwardArgs& args, float* partials, GpuStream stream) {
  constexpr int N = kPack<T>;
  const bool packs = args.dim % N == 0 && packable(args.dy, N, sizeof(T)) && packable(args.x, N, sizeof(T)) &&
                     packable(args.dx, N, sizeof(T)) && packable(args.weight, N) && is_aligned(partials, 16);
  packs ? backward<T, N>(args, partials, stream) : backward<T, 1>(args, partials, stream);
}

}  // namespace

void rms_norm_forward_cuda(const RmsNormForwardArgs& args, void* stream) {
  const auto gpu_stream = static_cast<GpuStream>(stream);
  args.type == ElementType::kF32 ? forward<float>(args, gpu_stream) : forward<bf16>(args, gpu_stream);
}

int64_t rms_norm_partials_size(const RmsNormBackwardArgs& args) {
  return args.dweight.data == nullptr ? 0 : chunks_of(args).count * args.dim;
}

void rms_norm_backward_cuda(const RmsNormBackwardArgs& args, float* partials, void* stream) {
  const auto gpu_stream = static_cast<GpuStream>(stream);
  const RowChunks chunks = chunks_of(args);
  if (chunks.count > 0 && args.dim > 0) {
    args.type == ElementType::kF32 ? backward<float>(args, partials, gpu_stream)
                                   : backward<bf16>(args, partials, gpu_stream);
  }
  if (args.dweight.data == nullptr) return;
  sum_partials(partials, 1, chunks.count, args.dim, args.dim, args.dweight, args.accumulate_dweight, gpu_stream, kOp);
}

}  // namespace millrace
