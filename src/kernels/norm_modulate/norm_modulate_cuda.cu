#include "kernels/layer_norm_cuda.cuh"
#include "kernels/norm_modulate/norm_modulate_raw.h"

namespace millrace {
namespace {

constexpr const char* kOp = "norm_modulate";

// One block per row.
template <typename T, int N>
__global__ void forward_kernel(NormModulateForwardArgs args) {
  __shared__ float scratch[kMaxLaneGroups][1];
  const int64_t row = blockIdx.x, b = row / args.length, l = row % args.length;
  const T* x = row_at<T>(args.x, b, l);
  float mean, rstd;
  row_moments<T, N>(x, args.dim, args.eps, scratch, &mean, &rstd);
  modulate_row<T, N>(x, mean, rstd, args.shift, args.scale, b, row_at<T>(args.y, b, l), args.dim);
  if (threadIdx.x == 0) {
    if (args.mean != nullptr) args.mean[row] = mean;
    if (args.rstd != nullptr) args.rstd[row] = rstd;
  }
}

// One block per chunk of a sample's rows; partials: [B * chunks, 2, D]. Sums are kept in shared memory or, if that is
// too small, in the partials themselves; a thread only touches its own columns.
template <typename T, int N>
__global__ void backward_kernel(NormModulateBackwardArgs args, RowChunks chunks, float* partials, bool in_shared) {
  MILLRACE_DYNAMIC_SHARED(float4, shared_sums);
  __shared__ float scratch[kMaxLaneGroups][2];
  const int64_t b = blockIdx.x / chunks.count, first = blockIdx.x % chunks.count * chunks.rows_per_chunk;
  const int64_t dim = args.dim, step = static_cast<int64_t>(blockDim.x) * N;
  const int64_t own = static_cast<int64_t>(threadIdx.x) * N;
  float* const partial = partials + static_cast<int64_t>(blockIdx.x) * 2 * dim;
  float* const dshift = in_shared ? reinterpret_cast<float*>(shared_sums) : partial;
  float* const dscale = dshift + dim;
  for (int64_t i = own; i < dim; i += step) {
    for (int j = 0; j < N; ++j) dshift[i + j] = dscale[i + j] = 0;
  }
  for (int64_t l = first; l < first + chunks.rows_per_chunk && l < args.length; ++l) {
    const T* dy = row_at<T>(args.dy, b, l);
    const T* x = row_at<T>(args.x, b, l);
    T* dx = row_at<T>(args.dx, b, l);
    const float mean = args.mean[b * args.length + l], rstd = args.rstd[b * args.length + l];
    float means[2];
    modulate_row_sums<T, N>(dy, x, mean, rstd, args.scale, b, dshift, dscale, dim, scratch, means);
    for (int64_t i = own; i < dim; i += step) {
      float gradient[N], v[N], scales[N], result[N];
      load<N>(dy + i, gradient);
      load<N>(x + i, v);
      load_floats<N>(args.scale, b, i, scales);
      if (args.accumulate_dx) {
        load<N>(dx + i, result);
      } else {
#pragma unroll
        for (int j = 0; j < N; ++j) result[j] = 0;
      }
#pragma unroll
      for (int j = 0; j < N; ++j) result[j] += modulate_dx(gradient[j], v[j], mean, rstd, scales[j], means);
      store<N>(dx + i, result);
    }
  }
  if (!in_shared) return;
  for (int64_t i = own; i < dim; i += step) {
    for (int j = 0; j < N; ++j) {
      partial[i + j] = dshift[i + j];
      partial[dim + i + j] = dscale[i + j];
    }
  }
}

RowChunks chunks_of(const NormModulateBackwardArgs& args) {
  return RowChunks::make(args.length, 16, 256);
}

template <typename T, int N>
void forward(const NormModulateForwardArgs& args, GpuStream stream) {
  const int64_t packs = (args.dim + N - 1) / N;
  launch(kOp, forward_kernel<T, N>, args.batch * args.length, threads_for(packs), 0, stream, args);
}

template <typename T>
void forward(const NormModulateForwardArgs& args, GpuStream stream) {
  constexpr int N = kPack<T>;
  const bool packs = args.dim % N == 0 && packable(args.x, N, sizeof(T)) && packable(args.y, N, sizeof(T)) &&
                     packable(args.shift, N) && packable(args.scale, N);
  packs ? forward<T, N>(args, stream) : forward<T, 1>(args, stream);
}

template <typename T, int N>
void backward(const NormModulateBackwardArgs& args, float* partials, GpuStream stream) {
  const RowChunks chunks = chunks_of(args);
  const int64_t packs = (args.dim + N - 1) / N;
  const size_t shared = shared_sums_bytes(backward_kernel<T, N>, 2 * args.dim * int64_t{sizeof(float)}, kOp);
  launch(kOp, backward_kernel<T, N>, args.batch * chunks.count, threads_for(packs), shared, stream, args, chunks,
         partials, shared > 0);
}

template <typename T>
void backward(const NormModulateBackwardArgs& args, float* partials, GpuStream stream) {
  constexpr int N = kPack<T>;
  const bool packs = args.dim % N == 0 && packable(args.dy, N, sizeof(T)) && packable(args.x, N, sizeof(T)) &&
                     packable(args.dx, N, sizeof(T)) && packable(args.scale, N) && is_aligned(partials, 16);
  packs ? backward<T, N>(args, partials, stream) : backward<T, 1>(args, partials, stream);
}

}  // namespace

void norm_modulate_forward_cuda(const NormModulateForwardArgs& args, void* stream) {
  const auto gpu_stream = static_cast<GpuStream>(stream);
  args.type == ElementType::kF32 ? forward<float>(args, gpu_stream) : forward<bf16>(args, gpu_stream);
}

int64_t norm_modulate_partials_size(const NormModulateBackwardArgs& args) {
  return args.batch * chunks_of(args).count * 2 * args.dim;
}

void norm_modulate_backward_cuda(const NormModulateBackwardArgs& args, float* partials, void* stream) {
  const auto gpu_stream = static_cast<GpuStream>(stream);
  const RowChunks chunks = chunks_of(args);
  if (args.batch * chunks.count > 0 && args.dim > 0) {
    args.type == ElementType::kF32 ? backward<float>(args, partials, gpu_stream)
                                   : backward<bf16>(args, partials, gpu_stream);
  }
  sum_partials(partials, args.batch, chunks.count, 2 * args.dim, args.dim, args.dshift, false, gpu_stream, kOp);
  sum_partials(partials + args.dim, args.batch, chunks.count, 2 * args.dim, args.dim, args.dscale, false, gpu_stream,
               kOp);
}

}  // namespace millrace
