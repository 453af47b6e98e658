// philox_fill on raw memory: the CPU levels' table and the CUDA entry point.
#pragma once

#include "base/philox.h"
#include "kernels/raw.h"

namespace millrace {

enum class RandomKind : int { kUniform = 0, kNormal = 1 };

struct PhiloxFillKernels {
  // out[i] = number first_index + i of the stream, i < n. Indexed by RandomKind, then ElementType.
  void (*fill[2][2])(const RandomStream& stream, uint64_t first_index, int64_t n, void* out);
};
extern const PhiloxFillKernels philox_fill_kernels_v2, philox_fill_kernels_v3, philox_fill_kernels_v4;

// out: [batch, n] with this batch stride; streams: `batch` of them, on the host. stream: a cudaStream_t.
void philox_fill_cuda(RandomKind kind, ElementType type, const RandomStream* streams, int64_t batch, int64_t n,
                      int64_t batch_stride, uint64_t first_index, void* out, void* stream);

}  // namespace millrace
