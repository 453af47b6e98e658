#include "kernels/cuda_util.cuh"
#include "kernels/rotary/rotary_raw.h"

namespace millrace {
namespace {

constexpr const char* kOp = "rotary";

// A thread turns N pairs of one head; heads of a token lie beside each other, and so do their threads.
template <typename T, int N>
__global__ void rotate_kernel(RotaryArgs args, int64_t packs, int64_t count) {
  const int64_t index = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (index >= count) return;
  const int64_t i = index % packs * N, head = index / packs % args.heads, token = index / packs / args.heads;
  T* const first = row_at<T>(args.x, token, head) + i;
  T* const second = first + args.pairs;
  float cos[N], sin[N], a[N], b[N];
  load_fp32<N>(args.cos + token * args.pairs + i, cos);
  load_fp32<N>(args.sin + token * args.pairs + i, sin);
  load<N>(first, a);
  load<N>(second, b);
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const float s = args.direction * sin[j], x = a[j];
    a[j] = x * cos[j] - b[j] * s;
    b[j] = b[j] * cos[j] + x * s;
  }
  store<N>(first, a);
  store<N>(second, b);
}

template <typename T, int N>
void rotate(const RotaryArgs& args, GpuStream stream) {
  constexpr int kThreads = 256;
  const int64_t packs = (args.pairs + N - 1) / N, count = args.tokens * args.heads * packs;
  launch(kOp, rotate_kernel<T, N>, (count + kThreads - 1) / kThreads, kThreads, 0, stream, args, packs, count);
}

template <typename T>
void rotate(const RotaryArgs& args, GpuStream stream) {
  constexpr int N = kPack<T>;
  const bool packs =
      args.pairs % N == 0 && packable(args.x, N, sizeof(T)) && is_aligned(args.cos, 16) && is_aligned(args.sin, 16);
  packs ? rotate<T, N>(args, stream) : rotate<T, 1>(args, stream);
}

}  // namespace

void rotary_cuda(const RotaryArgs& args, void* stream) {
  const auto gpu_stream = static_cast<GpuStream>(stream);
  args.type == ElementType::kF32 ? rotate<float>(args, gpu_stream) : rotate<bf16>(args, gpu_stream);
}

}  // namespace millrace
