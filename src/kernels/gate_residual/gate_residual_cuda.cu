#include "kernels/gate_residual/gate_residual_raw.h"
#include "kernels/layer_norm_cuda.cuh"

namespace millrace {
namespace {

constexpr const char* kOp = "gate_residual";

// A block takes one tile of columns of one chunk of rows; a thread keeps its N columns.
struct Tiles {
  int64_t threads, columns;  // tiles of columns

  static Tiles make(int64_t dim, int pack) {
    const int64_t packs = (dim + pack - 1) / pack;
    const int threads = threads_for(packs);
    return {threads, (packs + threads - 1) / threads};
  }
};

template <int N>
__device__ __forceinline__ int64_t own_column(int64_t columns) {
  return ((blockIdx.x % columns) * static_cast<int64_t>(blockDim.x) + threadIdx.x) * N;
}

template <typename T, int N>
__global__ void forward_kernel(GateResidualForwardArgs args, int64_t columns, int64_t rows_per_block) {
  const int64_t i = own_column<N>(columns), rows = args.batch * args.length;
  const int64_t first = blockIdx.x / columns * rows_per_block;
  if (i >= args.dim) return;
  float bias[N];
  load_floats_or_zeros<N>(args.bias, 0, i, bias);
  for (int64_t row = first; row < first + rows_per_block && row < rows; ++row) {
    const int64_t b = row / args.length, l = row % args.length;
    float x[N], y[N], gate[N];
    load<N>(row_at<T>(args.x, b, l) + i, x);
    load<N>(row_at<T>(args.y, b, l) + i, y);
    load_floats<N>(args.gate, b, i, gate);
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] += gate[j] * (y[j] + bias[j]);
    store<N>(row_at<T>(args.out, b, l) + i, x);
  }
}

// One block per row. A thread reads back only what it wrote itself.
template <typename T, int N>
__global__ void norm_forward_kernel(GateResidualForwardArgs args) {
  __shared__ float scratch[kMaxLaneGroups][1];
  const int64_t row = blockIdx.x, b = row / args.length, l = row % args.length;
  const T* x = row_at<T>(args.x, b, l);
  const T* y = row_at<T>(args.y, b, l);
  T* out = row_at<T>(args.out, b, l);
  for (int64_t i = static_cast<int64_t>(threadIdx.x) * N; i < args.dim; i += static_cast<int64_t>(blockDim.x) * N) {
    float sum[N], v[N], gate[N], bias[N];
    load<N>(x + i, sum);
    load<N>(y + i, v);
    load_floats<N>(args.gate, b, i, gate);
    load_floats_or_zeros<N>(args.bias, 0, i, bias);
#pragma unroll
    for (int j = 0; j < N; ++j) sum[j] += gate[j] * (v[j] + bias[j]);
    store<N>(out + i, sum);
  }
  float mean, rstd;
  row_moments<T, N>(out, args.dim, args.eps, scratch, &mean, &rstd);
  modulate_row<T, N>(out, mean, rstd, args.shift, args.scale, b, row_at<T>(args.n, b, l), args.dim);
  if (threadIdx.x == 0) {
    if (args.mean != nullptr) args.mean[row] = mean;
    if (args.rstd != nullptr) args.rstd[row] = rstd;
  }
}

// partials: [B * chunks, 2, D], sums of dout * (y + bias) and of dout.
template <typename T, int N>
__global__ void backward_kernel(GateResidualBackwardArgs args, RowChunks chunks, int64_t columns, float* partials) {
  const int64_t i = own_column<N>(columns), part = blockIdx.x / columns;
  const int64_t b = part / chunks.count, first = part % chunks.count * chunks.rows_per_chunk;
  if (i >= args.dim) return;
  float gate[N], bias[N], dgate[N] = {}, dout_sum[N] = {};
  load_floats<N>(args.gate, b, i, gate);
  load_floats_or_zeros<N>(args.bias, 0, i, bias);
  for (int64_t l = first; l < first + chunks.rows_per_chunk && l < args.length; ++l) {
    float dout[N], y[N];
    load<N>(row_at<T>(args.dout, b, l) + i, dout);
    load<N>(row_at<T>(args.y, b, l) + i, y);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      dgate[j] += dout[j] * (y[j] + bias[j]);
      dout_sum[j] += dout[j];
      dout[j] *= gate[j];
    }
    store<N>(row_at<T>(args.dy, b, l) + i, dout);
  }
  float* const partial = partials + part * 2 * args.dim;
  store_fp32<N>(partial + i, dgate);
  store_fp32<N>(partial + args.dim + i, dout_sum);
}

// One block per chunk of a sample's rows; partials: [B * chunks, 4, D], those two sums, then dshift and dscale. Sums
// are kept as in norm_modulate's backward.
template <typename T, int N>
__global__ void norm_backward_kernel(GateResidualBackwardArgs args, RowChunks chunks, float* partials, bool in_shared) {
  MILLRACE_DYNAMIC_SHARED(float4, shared_sums);
  __shared__ float scratch[kMaxLaneGroups][2];
  const int64_t b = blockIdx.x / chunks.count, first = blockIdx.x % chunks.count * chunks.rows_per_chunk;
  const int64_t dim = args.dim, step = static_cast<int64_t>(blockDim.x) * N;
  const int64_t own = static_cast<int64_t>(threadIdx.x) * N;
  float* const partial = partials + static_cast<int64_t>(blockIdx.x) * 4 * dim;
  float* const sums = in_shared ? reinterpret_cast<float*>(shared_sums) : partial;
  for (int64_t i = own; i < dim; i += step) {
    for (int k = 0; k < 4; ++k) {
      for (int j = 0; j < N; ++j) sums[k * dim + i + j] = 0;
    }
  }
  for (int64_t l = first; l < first + chunks.rows_per_chunk && l < args.length; ++l) {
    const T* dn = row_at<T>(args.dn, b, l);
    const T* out = row_at<T>(args.out, b, l);
    const T* y = row_at<T>(args.y, b, l);
    T* dout = row_at<T>(args.dout, b, l);
    T* dy = row_at<T>(args.dy, b, l);
    const float mean = args.mean[b * args.length + l], rstd = args.rstd[b * args.length + l];
    float means[2];
    modulate_row_sums<T, N>(dn, out, mean, rstd, args.scale, b, sums + 2 * dim, sums + 3 * dim, dim, scratch, means);
    for (int64_t i = own; i < dim; i += step) {
      float gradient[N], normed_gradient[N], v[N], scales[N], gate[N], bias[N];
      load<N>(dout + i, gradient);
      load<N>(dn + i, normed_gradient);
      load<N>(out + i, v);
      load_floats<N>(args.scale, b, i, scales);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        gradient[j] += modulate_dx(normed_gradient[j], v[j], mean, rstd, scales[j], means);
      }
      load<N>(y + i, v);
      load_floats<N>(args.gate, b, i, gate);
      load_floats_or_zeros<N>(args.bias, 0, i, bias);
      store<N>(dout + i, gradient);
      add_fp32<N>(sums + dim + i, gradient);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        v[j] = gradient[j] * (v[j] + bias[j]);
        gradient[j] *= gate[j];
      }
      add_fp32<N>(sums + i, v);
      store<N>(dy + i, gradient);
    }
  }
  if (!in_shared) return;
  for (int64_t i = own; i < dim; i += step) {
    for (int k = 0; k < 4; ++k) {
      for (int j = 0; j < N; ++j) partial[k * dim + i + j] = sums[k * dim + i + j];
    }
  }
}

// dbias[i] (+)= sum over samples and chunks of gate[b, i] * partials[b, c, 1, i]; blocks as in sum_partials_kernel.
__global__ void sum_dbias_kernel(const float* partials, int64_t batch, int64_t count, int64_t stride, int64_t dim,
                                 FloatRows gate, FloatRows dbias, bool accumulate) {
  __shared__ float groups[kSumGroups][kSumColumns];
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kSumColumns + threadIdx.x;
  float sum = 0;
  if (i < dim) {
    for (int64_t c = threadIdx.y; c < batch * count; c += kSumGroups) {
      float factor[1];
      load_floats<1>(gate, c / count, i, factor);
      sum += factor[0] * partials[c * stride + dim + i];
    }
  }
  groups[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || i >= dim) return;
  sum = 0;
  for (int g = 0; g < kSumGroups; ++g) sum += groups[g][threadIdx.x];
  store_sum(dbias, 0, i, sum, accumulate);
}

RowChunks chunks_of(const GateResidualBackwardArgs& args) {
  return RowChunks::make(args.length, 16, 256);
}

template <typename T, int N>
void forward(const GateResidualForwardArgs& args, bool with_norm, GpuStream stream) {
  const int64_t rows = args.batch * args.length;
  if (with_norm) {
    const int64_t packs = (args.dim + N - 1) / N;
    launch(kOp, norm_forward_kernel<T, N>, rows, threads_for(packs), 0, stream, args);
  } else {
    constexpr int64_t kRowsPerBlock = 4;
    const Tiles tiles = Tiles::make(args.dim, N);
    const int64_t blocks = (rows + kRowsPerBlock - 1) / kRowsPerBlock * tiles.columns;
    launch(kOp, forward_kernel<T, N>, blocks, static_cast<unsigned>(tiles.threads), 0, stream, args, tiles.columns,
           kRowsPerBlock);
  }
}

template <typename T>
void forward(const GateResidualForwardArgs& args, bool with_norm, GpuStream stream) {
  constexpr int N = kPack<T>;
  bool packs = args.dim % N == 0 && packable(args.x, N, sizeof(T)) && packable(args.y, N, sizeof(T)) &&
               packable(args.out, N, sizeof(T)) && packable(args.gate, N) && packable(args.bias, N);
  if (with_norm) {
    packs = packs && packable(args.n, N, sizeof(T)) && packable(args.shift, N) && packable(args.scale, N);
  }
  packs ? forward<T, N>(args, with_norm, stream) : forward<T, 1>(args, with_norm, stream);
}

template <typename T, int N>
void backward(const GateResidualBackwardArgs& args, bool with_norm, float* partials, GpuStream stream) {
  const RowChunks chunks = chunks_of(args);
  if (with_norm) {
    const int64_t packs = (args.dim + N - 1) / N;
    const size_t shared = shared_sums_bytes(norm_backward_kernel<T, N>, 4 * args.dim * int64_t{sizeof(float)}, kOp);
    launch(kOp, norm_backward_kernel<T, N>, args.batch * chunks.count, threads_for(packs), shared, stream, args, chunks,
           partials, shared > 0);
  } else {
    const Tiles tiles = Tiles::make(args.dim, N);
    launch(kOp, backward_kernel<T, N>, args.batch * chunks.count * tiles.columns, static_cast<unsigned>(tiles.threads),
           0, stream, args, chunks, tiles.columns, partials);
  }
}

template <typename T>
void backward(const GateResidualBackwardArgs& args, bool with_norm, float* partials, GpuStream stream) {
  constexpr int N = kPack<T>;
  bool packs = args.dim % N == 0 && packable(args.dout, N, sizeof(T)) && packable(args.y, N, sizeof(T)) &&
               packable(args.dy, N, sizeof(T)) && packable(args.gate, N) && packable(args.bias, N) &&
               is_aligned(partials, 16);
  if (with_norm) {
    packs = packs && packable(args.dn, N, sizeof(T)) && packable(args.out, N, sizeof(T)) && packable(args.scale, N);
  }
  packs ? backward<T, N>(args, with_norm, partials, stream) : backward<T, 1>(args, with_norm, partials, stream);
}

}  // namespace

void gate_residual_forward_cuda(const GateResidualForwardArgs& args, bool with_norm, void* stream) {
  const auto gpu_stream = static_cast<GpuStream>(stream);
  args.type == ElementType::kF32 ? forward<float>(args, with_norm, gpu_stream)
                                 : forward<bf16>(args, with_norm, gpu_stream);
}

int64_t gate_residual_partials_size(const GateResidualBackwardArgs& args, bool with_norm) {
  return args.batch * chunks_of(args).count * (with_norm ? 4 : 2) * args.dim;
}

void gate_residual_backward_cuda(const GateResidualBackwardArgs& args, bool with_norm, float* partials, void* stream) {
  const auto gpu_stream = static_cast<GpuStream>(stream);
  const int64_t count = chunks_of(args).count, dim = args.dim, stride = (with_norm ? 4 : 2) * dim;
  if (args.batch * count > 0 && dim > 0) {
    args.type == ElementType::kF32 ? backward<float>(args, with_norm, partials, gpu_stream)
                                   : backward<bf16>(args, with_norm, partials, gpu_stream);
  }
  sum_partials(partials, args.batch, count, stride, dim, args.dgate, false, gpu_stream, kOp);
  if (with_norm) {
    sum_partials(partials + 2 * dim, args.batch, count, stride, dim, args.dshift, false, gpu_stream, kOp);
    sum_partials(partials + 3 * dim, args.batch, count, stride, dim, args.dscale, false, gpu_stream, kOp);
  }
  if (args.dbias.data != nullptr && dim > 0) {
    const int64_t blocks = (dim + kSumColumns - 1) / kSumColumns;
    launch(kOp, sum_dbias_kernel, blocks, dim3(kSumColumns, kSumGroups), 0, gpu_stream, partials, args.batch, count,
           stride, dim, args.gate, args.dbias, args.accumulate_dbias);
  }
}

}  // namespace millrace
