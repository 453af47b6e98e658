#include "kernels/philox_fill/philox_fill_cpu.h"

#include <ATen/Parallel.h>

#include "kernels/cpu_level.h"

namespace millrace {

void philox_fill_cpu(RandomKind kind, ElementType type, const RandomStream* streams, int64_t batch, int64_t n,
                     int64_t batch_stride, uint64_t first_index, void* out) {
  const auto kernel = MILLRACE_SELECT_KERNELS(philox_fill_kernels).fill[static_cast<int>(kind)][static_cast<int>(type)];
  const int64_t element_size = type == ElementType::kF32 ? 4 : 2;
  constexpr int64_t kPiece = 4096;
  const int64_t pieces = (n + kPiece - 1) / kPiece;
  at::parallel_for(0, batch * pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / pieces, first = i % pieces * kPiece;
      kernel(streams[b], first_index + static_cast<uint64_t>(first), std::min(kPiece, n - first),
             static_cast<char*>(out) + (b * batch_stride + first) * element_size);
    }
  });
}

}  // namespace millrace
