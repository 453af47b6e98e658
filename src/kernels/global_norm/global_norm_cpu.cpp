#include "kernels/global_norm/global_norm_cpu.h"

#include <ATen/Parallel.h>

#include <vector>

#include "kernels/cpu_level.h"
#include "kernels/global_norm/global_norm_raw.h"

namespace millrace {
namespace {

constexpr int64_t kChunk = 16384;

int64_t num_chunks(int64_t n) {
  return (n + kChunk - 1) / kChunk;
}

// Infinities and NaNs have all exponent bits set, at the same place in bf16 and in the upper half of fp32.
template <typename Word, Word kExponent>
int64_t first_in_chunk(const Word* x, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    if ((x[i] & kExponent) == kExponent) return i;
  }
  return -1;
}

}  // namespace

double sum_of_squares_cpu(ElementType type, const void* x, int64_t n) {
  const auto kernel = MILLRACE_SELECT_KERNELS(global_norm_kernels).sum_of_squares[static_cast<int>(type)];
  const int64_t element_size = type == ElementType::kF32 ? 4 : 2;
  std::vector<double> sums(num_chunks(n));
  at::parallel_for(0, num_chunks(n), 1, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * kChunk;
      sums[chunk] = kernel(static_cast<const char*>(x) + first * element_size, std::min(kChunk, n - first));
    }
  });
  double sum = 0;
  for (const double chunk : sums) sum += chunk;
  return sum;
}

int64_t first_nonfinite_cpu(ElementType type, const void* x, int64_t n) {
  std::vector<int64_t> found(num_chunks(n));
  at::parallel_for(0, num_chunks(n), 1, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * kChunk, last = std::min(n, first + kChunk);
      found[chunk] = type == ElementType::kF32
                         ? first_in_chunk<uint32_t, 0x7F800000u>(static_cast<const uint32_t*>(x), first, last)
                         : first_in_chunk<uint16_t, 0x7F80u>(static_cast<const uint16_t*>(x), first, last);
    }
  });
  for (const int64_t index : found) {
    if (index >= 0) return index;
  }
  return -1;
}

}  // namespace millrace
