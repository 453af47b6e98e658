// Compiled with --fmad=false (CMakeLists.txt): the functions of base/philox.h use fma explicitly.
#include "kernels/cuda_util.cuh"
#include "kernels/philox_fill/philox_fill_raw.h"

namespace millrace {
namespace {

constexpr const char* kOp = "philox_fill";
constexpr int kThreads = 256;
constexpr int kMaxStreams = 128;  // per launch: they travel as a kernel argument, which holds 4 KiB

struct Streams {
  RandomStream streams[kMaxStreams];
};
static_assert(sizeof(Streams) <= 3584);

// Thread n of a sample makes the requested ones of the four numbers of block first_index / 4 + n.
template <RandomKind kKind, typename T>
__global__ void fill_kernel(Streams streams, int64_t blocks_per_sample, int64_t n, int64_t batch_stride,
                            uint64_t first_index, T* out) {
  const int64_t b = blockIdx.x / blocks_per_sample;
  const int64_t group = blockIdx.x % blocks_per_sample * kThreads + threadIdx.x;
  const int64_t at = group * 4 - static_cast<int64_t>(first_index % 4);
  if (at >= n) return;
  uint32_t words[4];
  philox_block(streams.streams[b], static_cast<uint32_t>(first_index / 4 + static_cast<uint64_t>(group)), words);
  float numbers[4];
  if constexpr (kKind == RandomKind::kNormal) {
    words_to_normals(words[0], words[1], &numbers[0], &numbers[1]);
    words_to_normals(words[2], words[3], &numbers[2], &numbers[3]);
  } else {
    for (int j = 0; j < 4; ++j) numbers[j] = word_to_uniform(words[j]);
  }
  T* const target = out + b * batch_stride;
  for (int j = 0; j < 4; ++j) {
    if (at + j >= 0 && at + j < n) target[at + j] = from_float<T>(numbers[j]);
  }
}

template <RandomKind kKind, typename T>
void fill(const RandomStream* host_streams, int64_t batch, int64_t n, int64_t batch_stride, uint64_t first_index,
          T* out, GpuStream stream) {
  const int64_t groups = (static_cast<int64_t>(first_index % 4) + n + 3) / 4;
  const int64_t blocks_per_sample = (groups + kThreads - 1) / kThreads;
  for (int64_t first = 0; first < batch; first += kMaxStreams) {
    const int64_t count = batch - first < kMaxStreams ? batch - first : kMaxStreams;
    Streams streams = {};
    for (int64_t b = 0; b < count; ++b) streams.streams[b] = host_streams[first + b];
    launch(kOp, fill_kernel<kKind, T>, count * blocks_per_sample, kThreads, 0, stream, streams, blocks_per_sample, n,
           batch_stride, first_index, out + first * batch_stride);
  }
}

}  // namespace

void philox_fill_cuda(RandomKind kind, ElementType type, const RandomStream* streams, int64_t batch, int64_t n,
                      int64_t batch_stride, uint64_t first_index, void* out, void* stream) {
  const auto gpu_stream = static_cast<GpuStream>(stream);
  const auto run = [&](auto* typed) {
    if (kind == RandomKind::kNormal) {
      fill<RandomKind::kNormal>(streams, batch, n, batch_stride, first_index, typed, gpu_stream);
    } else {
      fill<RandomKind::kUniform>(streams, batch, n, batch_stride, first_index, typed, gpu_stream);
    }
  };
  type == ElementType::kF32 ? run(static_cast<float*>(out)) : run(static_cast<bf16*>(out));
}

}  // namespace millrace
