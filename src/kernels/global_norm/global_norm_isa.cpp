#include "kernels/global_norm/global_norm_raw.h"
#include "kernels/simd.h"

namespace millrace {
namespace {

// Element i always goes to lane i % 16, whatever the vectors' width: every level gives the same sum to the last bit.
constexpr int kSumLanes = 16;
constexpr int kDoubles = kLanes / 2;
constexpr int kVectors = kSumLanes / kDoubles;

using VecD [[gnu::vector_size(kLanes * 4)]] = double;
using HalfF [[gnu::vector_size(kDoubles * 4)]] = float;
using HalfU [[gnu::vector_size(kDoubles * 4)]] = uint32_t;
using HalfH [[gnu::vector_size(kDoubles * 2)]] = uint16_t;

MILLRACE_INLINE VecD load_doubles(const float* p) {
  HalfF v;
  __builtin_memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, VecD);
}
MILLRACE_INLINE VecD load_doubles(const BF16* p) {
  HalfH h;
  __builtin_memcpy(&h, p, sizeof h);
  return __builtin_convertvector((HalfF)(__builtin_convertvector(h, HalfU) << 16), VecD);
}
MILLRACE_INLINE double load_double(const float* p) {
  return static_cast<double>(*p);
}
MILLRACE_INLINE double load_double(const BF16* p) {
  const uint32_t bits = static_cast<uint32_t>(p->bits) << 16;
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return static_cast<double>(x);
}

template <typename T>
double sum_of_squares(const void* data, int64_t n) {
  const T* x = static_cast<const T*>(data);
  VecD acc[kVectors] = {};
  int64_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes) {
    for (int j = 0; j < kVectors; ++j) {
      const VecD v = load_doubles(x + i + j * kDoubles);
      acc[j] += v * v;  // the product of two fp32 numbers is exact, fused or not
    }
  }
  double lanes[kSumLanes];
  __builtin_memcpy(lanes, acc, sizeof lanes);
  for (int lane = 0; i < n; ++i, ++lane) lanes[lane] += load_double(x + i) * load_double(x + i);
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

}  // namespace

extern const GlobalNormKernels MILLRACE_ISA_NAME(global_norm_kernels) = {
    {sum_of_squares<float>, sum_of_squares<BF16>},
};

}  // namespace millrace
