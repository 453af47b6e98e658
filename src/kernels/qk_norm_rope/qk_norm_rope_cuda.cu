#include "kernels/cuda_util.cuh"
#include "kernels/qk_norm_rope/qk_norm_rope_raw.h"

namespace millrace {
namespace {

constexpr const char* kOp = "qk_norm_rope";
constexpr int kGroups = 4;  // of kLanes lanes, per block
constexpr int kWide = 4;    // elements per lane and access if memory is aligned for it; else a pair, one by one

template <typename T>
__device__ __forceinline__ T* head_at(const Heads& heads, int64_t b, int64_t h, int64_t l) {
  return static_cast<T*>(heads.data) + b * heads.batch_stride + h * heads.head_stride + l * heads.token_stride;
}

template <int N, typename T>
__device__ __forceinline__ void load_lane(const T* p, float (&x)[N]) {
  if constexpr (N == kWide) {
    load<N>(p, x);
  } else {
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] = to_float(p[j]);
  }
}
template <int N, typename T>
__device__ __forceinline__ void store_lane(T* p, const float (&x)[N]) {
  if constexpr (N == kWide) {
    store<N>(p, x);
  } else {
#pragma unroll
    for (int j = 0; j < N; ++j) p[j] = from_float<T>(x[j]);
  }
}
template <int N>
__device__ __forceinline__ void load_lane_floats(const FloatRows& rows, int64_t i, float (&x)[N]) {
  if (rows.data == nullptr) {
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] = 0.0f;
  } else if (rows.type == ElementType::kF32) {
    load_lane<N>(static_cast<const float*>(rows.data) + i, x);
  } else {
    load_lane<N>(static_cast<const bf16*>(rows.data) + i, x);
  }
}

// Rotates the pairs of N elements from i on; direction -1 rotates back.
template <int N>
__device__ __forceinline__ void rotate(const float* cos, const float* sin, int64_t i, float direction, float (&x)[N]) {
#pragma unroll
  for (int j = 0; j < N; j += 2) {
    const float c = cos[(i + j) / 2], s = direction * sin[(i + j) / 2];
    const float first = x[j], second = x[j + 1];
    x[j] = c * first - s * second;
    x[j + 1] = s * first + c * second;
  }
}

// x + bias of one head, N elements from i on; column: of the head in qkv's rows.
template <typename T, int N>
__device__ __forceinline__ void load_biased(const T* x, const FloatRows& bias, int64_t column, int64_t i,
                                            float (&v)[N]) {
  float biases[N];
  load_lane<N>(x + column + i, v);
  load_lane_floats<N>(bias, column + i, biases);
#pragma unroll
  for (int j = 0; j < N; ++j) v[j] += biases[j];
}

// One block per token; its groups of lanes share the 3 * H heads of q, k and v.
template <typename T, int N>
__global__ void forward_kernel(QkNormRopeForwardArgs args) {
  const int64_t b = blockIdx.x / args.length, l = blockIdx.x % args.length, dim = args.head_dim;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const T* x = row_at<T>(args.qkv, b, l);
  const float* cos = args.rope.cos + b * args.rope.cos_batch_stride + l * args.rope.cos_row_stride;
  const float* sin = args.rope.sin + b * args.rope.sin_batch_stride + l * args.rope.sin_row_stride;
  for (int64_t slot = threadIdx.x / kLanes; slot < 3 * args.heads; slot += kGroups) {
    const int64_t which = slot / args.heads, h = slot % args.heads, column = slot * dim;
    const Heads& heads = which == 0 ? args.q : which == 1 ? args.k : args.v;
    T* out = head_at<T>(heads, b, h, l);
    if (which == 2) {
      for (int64_t i = lane * N; i < dim; i += kLanes * N) {
        float v[N];
        load_biased<T, N>(x, args.bias, column, i, v);
        store_lane<N>(out + i, v);
      }
      continue;
    }
    float squares = 0;
    for (int64_t i = lane * N; i < dim; i += kLanes * N) {
      float v[N];
      load_biased<T, N>(x, args.bias, column, i, v);
#pragma unroll
      for (int j = 0; j < N; ++j) squares += v[j] * v[j];
    }
    const float rms = 1.0f / sqrtf(lane_sum(squares) / static_cast<float>(dim) + args.eps);
    for (int64_t i = lane * N; i < dim; i += kLanes * N) {
      float v[N], scale[N];
      load_biased<T, N>(x, args.bias, column, i, v);
      load_lane_floats<N>(which == 0 ? args.q_scale : args.k_scale, i, scale);
#pragma unroll
      for (int j = 0; j < N; ++j) v[j] = v[j] * rms * scale[j];
      rotate<N>(cos, sin, i, 1.0f, v);
      store_lane<N>(out + i, v);
    }
  }
}

// One block per head (of q, k or v) and chunk of tokens; each group of lanes sums over its own tokens, in its own part
// of shared memory until the end. partials: [chunks, 3*H*D of dbias then 2*H*D of dscale].
template <typename T, int N>
__global__ void backward_kernel(QkNormRopeBackwardArgs args, RowChunks chunks, float* partials) {
  MILLRACE_DYNAMIC_SHARED(float, sums);  // [kGroups, 2, D]: dbias, dscale
  const int64_t slots = 3 * args.heads, slot = blockIdx.x % slots, chunk = blockIdx.x / slots, dim = args.head_dim;
  const int64_t which = slot / args.heads, h = slot % args.heads, column = slot * dim;
  const int lane = static_cast<int>(threadIdx.x) % kLanes, group = static_cast<int>(threadIdx.x) / kLanes;
  const Heads& heads = which == 0 ? args.dq : which == 1 ? args.dk : args.dv;
  const FloatRows& scales = which == 0 ? args.q_scale : args.k_scale;
  float* const dbias = sums + group * 2 * dim;
  float* const dscale = dbias + dim;
  for (int64_t i = lane * N; i < dim; i += kLanes * N) {
    for (int j = 0; j < N; ++j) dbias[i + j] = dscale[i + j] = 0;
  }
  const int64_t first = chunk * chunks.rows_per_chunk;
  for (int64_t row = first + group; row < first + chunks.rows_per_chunk && row < chunks.rows; row += kGroups) {
    const int64_t b = row / args.length, l = row % args.length;
    const T* dy = head_at<T>(heads, b, h, l);
    const T* x = row_at<T>(args.qkv, b, l);
    T* dx = row_at<T>(args.dqkv, b, l) + column;
    if (which == 2) {
      for (int64_t i = lane * N; i < dim; i += kLanes * N) {
        float g[N];
        load_lane<N>(dy + i, g);
        store_lane<N>(dx + i, g);
        for (int j = 0; j < N; ++j) dbias[i + j] += g[j];
      }
      continue;
    }
    const float* cos = args.rope.cos + b * args.rope.cos_batch_stride + l * args.rope.cos_row_stride;
    const float* sin = args.rope.sin + b * args.rope.sin_batch_stride + l * args.rope.sin_row_stride;
    float squares = 0, products = 0;
    for (int64_t i = lane * N; i < dim; i += kLanes * N) {
      float v[N], g[N], scale[N];
      load_biased<T, N>(x, args.bias, column, i, v);
      load_lane<N>(dy + i, g);
      load_lane_floats<N>(scales, i, scale);
      rotate<N>(cos, sin, i, -1.0f, g);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        squares += v[j] * v[j];
        products += g[j] * scale[j] * v[j];
      }
    }
    const float rms = 1.0f / sqrtf(lane_sum(squares) / static_cast<float>(dim) + args.eps);
    const float mean = lane_sum(products) * rms / static_cast<float>(dim);
    for (int64_t i = lane * N; i < dim; i += kLanes * N) {
      float v[N], g[N], scale[N];
      load_biased<T, N>(x, args.bias, column, i, v);
      load_lane<N>(dy + i, g);
      load_lane_floats<N>(scales, i, scale);
      rotate<N>(cos, sin, i, -1.0f, g);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const float normed = v[j] * rms;
        dscale[i + j] += g[j] * normed;
        g[j] = rms * (g[j] * scale[j] - normed * mean);
        dbias[i + j] += g[j];
      }
      store_lane<N>(dx + i, g);
    }
  }
  __syncthreads();
  float* const partial = partials + chunk * 5 * args.heads * dim;
  for (int64_t i = threadIdx.x; i < dim; i += blockDim.x) {
    float bias_sum = 0, scale_sum = 0;
    for (int g = 0; g < kGroups; ++g) {
      bias_sum += sums[g * 2 * dim + i];
      scale_sum += sums[g * 2 * dim + dim + i];
    }
    partial[column + i] = bias_sum;
    if (which < 2) partial[3 * args.heads * dim + column + i] = scale_sum;
  }
}

RowChunks chunks_of(const QkNormRopeBackwardArgs& args) {
  return RowChunks::make(args.batch * args.length, 32, 256);
}

template <typename T>
bool packable_heads(const Heads& heads) {
  return is_aligned(heads.data, kWide * sizeof(T)) && heads.batch_stride % kWide == 0 &&
         heads.head_stride % kWide == 0 && heads.token_stride % kWide == 0;
}

template <typename T>
void forward(const QkNormRopeForwardArgs& args, GpuStream stream) {
  const bool packs = args.head_dim % kWide == 0 && packable(args.qkv, kWide, sizeof(T)) && packable(args.bias, kWide) &&
                     packable(args.q_scale, kWide) && packable(args.k_scale, kWide) && packable_heads<T>(args.q) &&
                     packable_heads<T>(args.k) && packable_heads<T>(args.v);
  const auto kernel = packs ? forward_kernel<T, kWide> : forward_kernel<T, 2>;
  launch(kOp, kernel, args.batch * args.length, kGroups * kLanes, 0, stream, args);
}

template <typename T>
void backward(const QkNormRopeBackwardArgs& args, float* partials, GpuStream stream) {
  const bool packs = args.head_dim % kWide == 0 && packable(args.qkv, kWide, sizeof(T)) &&
                     packable(args.dqkv, kWide, sizeof(T)) && packable(args.bias, kWide) &&
                     packable(args.q_scale, kWide) && packable(args.k_scale, kWide) && packable_heads<T>(args.dq) &&
                     packable_heads<T>(args.dk) && packable_heads<T>(args.dv);
  const RowChunks chunks = chunks_of(args);
  const size_t shared = static_cast<size_t>(kGroups * 2 * args.head_dim) * sizeof(float);  // at most 32 KiB
  static_assert(kGroups * 2 * kMaxHeadDim * sizeof(float) <= 48 * 1024);
  const auto kernel = packs ? backward_kernel<T, kWide> : backward_kernel<T, 2>;
  launch(kOp, kernel, chunks.count * 3 * args.heads, kGroups * kLanes, shared, stream, args, chunks, partials);
}

}  // namespace

void qk_norm_rope_forward_cuda(const QkNormRopeForwardArgs& args, void* stream) {
  const auto gpu_stream = static_cast<GpuStream>(stream);
  args.type == ElementType::kF32 ? forward<float>(args, gpu_stream) : forward<bf16>(args, gpu_stream);
}

int64_t qk_norm_rope_partials_size(const QkNormRopeBackwardArgs& args) {
  // Last, dscale of every head: [2, H, D].
  return (chunks_of(args).count * 5 + 2) * args.heads * args.head_dim;
}

void qk_norm_rope_backward_cuda(const QkNormRopeBackwardArgs& args, float* partials, void* stream) {
  const auto gpu_stream = static_cast<GpuStream>(stream);
  const int64_t count = chunks_of(args).count, width = args.heads * args.head_dim;
  if (count > 0 && args.heads > 0) {
    args.type == ElementType::kF32 ? backward<float>(args, partials, gpu_stream)
                                   : backward<bf16>(args, partials, gpu_stream);
  }
  if (args.dbias.data != nullptr) {
    sum_partials(partials, 1, count, 5 * width, 3 * width, args.dbias, args.accumulate, gpu_stream, kOp);
  }
  if (args.dq_scale.data == nullptr && args.dk_scale.data == nullptr) return;
  // First over the many chunks, for all heads at once; then over heads.
  float* const head_sums = partials + count * 5 * width;
  sum_partials(partials + 3 * width, 1, count, 5 * width, 2 * width, FloatRows{head_sums, 0, ElementType::kF32},
               /*accumulate=*/false, gpu_stream, kOp);
  if (args.dq_scale.data != nullptr) {
    sum_partials(head_sums, 1, args.heads, args.head_dim, args.head_dim, args.dq_scale, args.accumulate, gpu_stream,
                 kOp);
  }
  if (args.dk_scale.data != nullptr) {
    sum_partials(head_sums + width, 1, args.heads, args.head_dim, args.head_dim, args.dk_scale, args.accumulate,
                 gpu_stream, kOp);
  }
}

}  // namespace millrace
