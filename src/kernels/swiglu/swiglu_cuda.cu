#include "kernels/cuda_util.cuh"
#include "kernels/swiglu/swiglu_raw.h"

namespace millrace {
namespace {

constexpr const char* kOp = "swiglu";
constexpr float kBound = 87.0f;
constexpr int64_t kRowsPerBlock = 4;

// Like fmaxf() and fminf(), but NaN stays NaN.
__device__ __forceinline__ float at_least(float x, float bound) {
  return x < bound ? bound : x;
}
__device__ __forceinline__ float at_most(float x, float bound) {
  return x > bound ? bound : x;
}

// A block takes one tile of columns of kRowsPerBlock rows.
template <typename T, int N>
__global__ void forward_kernel(SwigluForwardArgs args, int64_t columns) {
  const int64_t i = ((blockIdx.x % columns) * static_cast<int64_t>(blockDim.x) + threadIdx.x) * N;
  const int64_t first = blockIdx.x / columns * kRowsPerBlock, rows = args.batch * args.length;
  if (i >= args.dim) return;
  for (int64_t row = first; row < first + kRowsPerBlock && row < rows; ++row) {
    const int64_t b = row / args.length, l = row % args.length;
    float gate[N], up[N];
    load<N>(row_at<T>(args.gate, b, l) + i, gate);
    load<N>(row_at<T>(args.up, b, l) + i, up);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float bounded = at_least(gate[j], -kBound);
      up[j] *= bounded / (1.0f + expf(-at_most(bounded, kBound)));
    }
    store<N>(row_at<T>(args.y, b, l) + i, up);
  }
}

// silu' = s + v s (1 - s), with 1 - s = s * exp(-v), which keeps its digits where s is near 1.
template <typename T, int N>
__global__ void backward_kernel(SwigluBackwardArgs args, int64_t columns) {
  const int64_t i = ((blockIdx.x % columns) * static_cast<int64_t>(blockDim.x) + threadIdx.x) * N;
  const int64_t first = blockIdx.x / columns * kRowsPerBlock, rows = args.batch * args.length;
  if (i >= args.dim) return;
  for (int64_t row = first; row < first + kRowsPerBlock && row < rows; ++row) {
    const int64_t b = row / args.length, l = row % args.length;
    float dy[N], gate[N], up[N];
    load<N>(row_at<T>(args.dy, b, l) + i, dy);
    load<N>(row_at<T>(args.gate, b, l) + i, gate);
    load<N>(row_at<T>(args.up, b, l) + i, up);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float bounded = at_least(gate[j], -kBound), inner = at_most(bounded, kBound);
      const float e = expf(-inner), s = 1.0f / (1.0f + e);
      const float slope = s + inner * s * (s * e);
      gate[j] = dy[j] * up[j] * slope;
      up[j] = dy[j] * (bounded * s);
    }
    store<N>(row_at<T>(args.dgate, b, l) + i, gate);
    store<N>(row_at<T>(args.dup, b, l) + i, up);
  }
}

template <int N, typename Kernel, typename Args>
void launch_rows(Kernel kernel, const Args& args, GpuStream stream) {
  const int64_t packs = (args.dim + N - 1) / N, rows = args.batch * args.length;
  const int threads = threads_for(packs);
  const int64_t columns = (packs + threads - 1) / threads;
  launch(kOp, kernel, (rows + kRowsPerBlock - 1) / kRowsPerBlock * columns, threads, 0, stream, args, columns);
}

template <typename T>
void forward(const SwigluForwardArgs& args, GpuStream stream) {
  constexpr int N = kPack<T>;
  const bool packs = args.dim % N == 0 && packable(args.gate, N, sizeof(T)) && packable(args.up, N, sizeof(T)) &&
                     packable(args.y, N, sizeof(T));
  packs ? launch_rows<N>(forward_kernel<T, N>, args, stream) : launch_rows<1>(forward_kernel<T, 1>, args, stream);
}

template <typename T>
void backward(const SwigluBackwardArgs& args, GpuStream stream) {
  constexpr int N = kPack<T>;
  const bool packs = args.dim % N == 0 && packable(args.dy, N, sizeof(T)) && packable(args.gate, N, sizeof(T)) &&
                     packable(args.up, N, sizeof(T)) && packable(args.dgate, N, sizeof(T)) &&
                     packable(args.dup, N, sizeof(T));
  packs ? launch_rows<N>(backward_kernel<T, N>, args, stream) : launch_rows<1>(backward_kernel<T, 1>, args, stream);
}

}  // namespace

void swiglu_forward_cuda(const SwigluForwardArgs& args, void* stream) {
  const auto gpu_stream = static_cast<GpuStream>(stream);
  args.type == ElementType::kF32 ? forward<float>(args, gpu_stream) : forward<bf16>(args, gpu_stream);
}

void swiglu_backward_cuda(const SwigluBackwardArgs& args, void* stream) {
  const auto gpu_stream = static_cast<GpuStream>(stream);
  args.type == ElementType::kF32 ? backward<float>(args, gpu_stream) : backward<bf16>(args, gpu_stream);
}

}  // namespace millrace
