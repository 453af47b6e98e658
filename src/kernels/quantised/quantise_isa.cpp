// Encoders of weights in fewer bits, without branches. Compiled without contraction (CMakeLists.txt): every level gives
// the same bits.
#include "kernels/quantised/quantise_raw.h"
#include "kernels/simd.h"

namespace millrace {
namespace {

constexpr int kMagnitude = 0x7FFFFFFF, kInfinity = 0x7F800000;

using VecB [[gnu::vector_size(kLanes)]] = uint8_t;

// The low bytes of numbers from 0 to 255.
MILLRACE_INLINE VecB low_bytes(VecI x) {
#if defined(MILLRACE_ISA_v4)
  return (VecB)_mm512_maskz_cvtepi32_epi8(0xFFFF, (__m512i)x);
#elif defined(MILLRACE_ISA_v3)
  const __m256i halves = _mm256_packus_epi32((__m256i)x, (__m256i)x);
  const __m256i bytes = _mm256_packus_epi16(halves, halves);  // four of each 128 bits
  const auto low = (uint32_t)_mm_cvtsi128_si32(_mm256_castsi256_si128(bytes));
  const auto high = (uint32_t)_mm_cvtsi128_si32(_mm256_extracti128_si256(bytes, 1));
  const uint64_t all = low | (uint64_t)high << 32;
  return __builtin_bit_cast(VecB, all);
#else
  const __m128i halves = _mm_packus_epi32((__m128i)x, (__m128i)x);
  return __builtin_bit_cast(VecB, _mm_cvtsi128_si32(_mm_packus_epi16(halves, halves)));
#endif
}

MILLRACE_INLINE void store_bytes(uint8_t* p, VecI x, Full) {
  const VecB bytes = low_bytes(x);
  __builtin_memcpy(p, &bytes, sizeof bytes);
}
MILLRACE_INLINE void store_bytes(uint8_t* p, VecI x, Partial part) {
  for (int64_t i = 0; i < part.n; ++i) p[i] = (uint8_t)x[i];
}

MILLRACE_INLINE VecF magnitude_of(VecF x) {
  return (VecF)((VecI)x & kMagnitude);
}

// To nearest, ties to even; above 464, and what is not finite, becomes NaN.
MILLRACE_INLINE VecI e4m3_of(VecF x) {
  constexpr int kNan = 1087 << 20;    // 480, the first number above all others
  constexpr int kNormal = 121 << 23;  // 2^-6
  constexpr int kAlign = 141 << 23;   // 2^14: adding it leaves the units of subnormal numbers in the low bits
  const VecI bits = (VecI)x & kMagnitude;
  const VecI subnormal = (VecI)((VecF)bits + (VecF)(VecI{} + kAlign)) - kAlign;
  const VecI normal = (bits - (120 << 23) + 0x7FFFF + (bits >> 20 & 1)) >> 20;
  const VecI code = bits >= kNan ? VecI{} + 0x7F : (bits < kNormal ? subnormal : normal);
  return code | ((VecI)x >> 24 & 0x80);
}

float largest_magnitude(const float* x, int64_t n) {
  // Magnitudes are ordered as the integers of their bits, infinity and NaN above the others.
  VecI most{};
  for_vectors(n, [&](int64_t i, auto part) {
    const VecI bits = (VecI)load(x + i, part) & kMagnitude;
    most = bits > most ? bits : most;
  });
  int largest = 0;
  for (int lane = 0; lane < kLanes; ++lane) largest = most[lane] > largest ? most[lane] : largest;
  return __builtin_bit_cast(float, largest < kInfinity ? largest : kInfinity);
}

void e4m3(const float* x, int64_t n, uint8_t* codes) {
  for_vectors(n, [&](int64_t i, auto part) { store_bytes(codes + i, e4m3_of(load(x + i, part)), part); });
}

void e4m3_scaled(const float* x, int64_t n, float scale, uint8_t* codes) {
  for_vectors(n, [&](int64_t i, auto part) {
    store_bytes(codes + i, e4m3_of(at_most(at_least(load(x + i, part) / scale, -kLargestE4m3), kLargestE4m3)), part);
  });
}

void int8_scaled(const float* x, int64_t n, float scale, uint8_t* codes) {
  constexpr float kRound = 0x1.8p23f;  // adding it leaves whole numbers in the low bits
  for_vectors(n, [&](int64_t i, auto part) {
    const VecF bounded = at_most(at_least(load(x + i, part) / scale, -127), 127);
    store_bytes(codes + i, (VecI)(bounded + kRound) & 0xFF, part);
  });
}

MILLRACE_INLINE VecF rounded_to_bf16(VecF x) {
  const VecU bits = (VecU)x;
  return (VecF)((bits + 0x7FFFu + (bits >> 16 & 1u)) & 0xFFFF0000u);
}

MILLRACE_INLINE VecI index_by_middles(VecF x, const float* middles) {
  VecI index{};
  for (int k = 0; k < 15; ++k) index -= x > middles[k];  // a comparison that holds is -1
  return index;
}

// The nearest, the first of equals.
template <bool kBf16>
MILLRACE_INLINE VecI index_by_distance(VecF x, const float* table) {
  if (kBf16) x = rounded_to_bf16(x);
  VecI best{};
  VecF least = (VecF)(VecI{} + kInfinity);
  for (int k = 0; k < 16; ++k) {
    VecF distance = magnitude_of(x - table[k]);
    if (kBf16) distance = rounded_to_bf16(distance);
    const VecI nearer = distance < least;
    best = nearer ? VecI{} + k : best;
    least = nearer ? distance : least;
  }
  return best;
}

template <typename Find>
MILLRACE_INLINE void find_indices(const float* x, int64_t n, float scale, uint8_t* indices, Find find) {
  for_vectors(n, [&](int64_t i, auto part) { store_bytes(indices + i, find(load(x + i, part) / scale), part); });
}

void nf4_indices(const float* x, int64_t n, float scale, Nf4Search search, const float* table, uint8_t* indices) {
  switch (search) {
    case Nf4Search::kMiddles:
      return find_indices(x, n, scale, indices, [=](VecF v) { return index_by_middles(v, table); });
    case Nf4Search::kDistance:
      return find_indices(x, n, scale, indices, [=](VecF v) { return index_by_distance<false>(v, table); });
    case Nf4Search::kDistanceBf16:
      return find_indices(x, n, scale, indices, [=](VecF v) { return index_by_distance<true>(v, table); });
  }
}

}  // namespace

extern const QuantiseKernels MILLRACE_ISA_NAME(quantise_kernels) = {largest_magnitude, e4m3, e4m3_scaled, int8_scaled,
                                                                    nf4_indices};

}  // namespace millrace
