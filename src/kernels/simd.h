// Vectors of floats, as wide as the CPU level allows, for *_isa.cpp, *_bf16dot.cpp and *_amx.cpp files only.
//
// An *_isa.cpp file is compiled once per level with MILLRACE_ISA set to v2, v3 or v4 (cmake/MillraceLibrary.cmake).
// Everything here lives in an anonymous namespace, and those files include nothing with inline functions of external
// linkage: the linker keeps one copy of such a function, and an AVX-512 copy would crash older processors.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/raw.h"

#define MILLRACE_CONCAT_EXPANDED(name, level) name##_##level
#define MILLRACE_CONCAT(name, level) MILLRACE_CONCAT_EXPANDED(name, level)
// table -> table_v3: the name of what this level defines (see MILLRACE_SELECT_KERNELS).
#define MILLRACE_ISA_NAME(name) MILLRACE_CONCAT(name, MILLRACE_ISA)
#define MILLRACE_INLINE [[gnu::always_inline]] inline

namespace millrace {
namespace {

#if defined(MILLRACE_ISA_v4)
constexpr int kLanes = 16;
#elif defined(MILLRACE_ISA_v3)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

using VecF [[gnu::vector_size(kLanes * 4)]] = float;
using VecI [[gnu::vector_size(kLanes * 4)]] = int32_t;
using VecU [[gnu::vector_size(kLanes * 4)]] = uint32_t;
using VecH [[gnu::vector_size(kLanes * 2)]] = uint16_t;

struct BF16 {
  uint16_t bits;
};

// How much of a vector is valid: all of it, or the first n lanes at the end of a row.
struct Full {};
struct Partial {
  int64_t n;
};

MILLRACE_INLINE VecF splat(float x) {
  return x - VecF{};
}

MILLRACE_INLINE VecF load(const float* p, Full) {
  VecF v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
MILLRACE_INLINE VecF load(const float* p, Partial part) {
  VecF v{};
  for (int64_t i = 0; i < part.n; ++i) v[i] = p[i];
  return v;
}
MILLRACE_INLINE void store(float* p, VecF v, Full) {
  __builtin_memcpy(p, &v, sizeof v);
}
MILLRACE_INLINE void store(float* p, VecF v, Partial part) {
  for (int64_t i = 0; i < part.n; ++i) p[i] = v[i];
}

// 16 bits to 32 and back (the upper halves are zero). GCC 12 splits __builtin_convertvector into half vectors.
MILLRACE_INLINE VecU widen_bits(VecH h) {
#if defined(MILLRACE_ISA_v4)
  return (VecU)_mm512_maskz_cvtepu16_epi32(0xFFFF, (__m256i)h);
#elif defined(MILLRACE_ISA_v3)
  return (VecU)_mm256_cvtepu16_epi32((__m128i)h);
#else
  return (VecU)_mm_cvtepu16_epi32(_mm_set_epi64x(0, (int64_t)h));
#endif
}
MILLRACE_INLINE VecH narrow_bits(VecU u) {
#if defined(MILLRACE_ISA_v4)
  return (VecH)_mm512_maskz_cvtepi32_epi16(0xFFFF, (__m512i)u);
#elif defined(MILLRACE_ISA_v3)
  const __m256i packed = _mm256_packus_epi32((__m256i)u, (__m256i)u);  // each half twice
  return (VecH)_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
#else
  return (VecH)_mm_cvtsi128_si64(_mm_packus_epi32((__m128i)u, (__m128i)u));
#endif
}

MILLRACE_INLINE VecF widen(VecH h) {
  return (VecF)(widen_bits(h) << 16);
}
// To nearest, ties to even; every NaN becomes the same quiet one.
MILLRACE_INLINE VecH narrow(VecF v) {
  const VecU u = (VecU)v;
  const VecU rounded = (u + 0x7FFFu + ((u >> 16) & 1u)) >> 16;
  return narrow_bits(v != v ? VecU{} + 0x7FC0u : rounded);
}
MILLRACE_INLINE VecF load(const BF16* p, Full) {
  VecH h;
  __builtin_memcpy(&h, p, sizeof h);
  return widen(h);
}
MILLRACE_INLINE VecF load(const BF16* p, Partial part) {
  VecH h{};
  for (int64_t i = 0; i < part.n; ++i) h[i] = p[i].bits;
  return widen(h);
}
MILLRACE_INLINE void store(BF16* p, VecF v, Full) {
  const VecH h = narrow(v);
  __builtin_memcpy(p, &h, sizeof h);
}
MILLRACE_INLINE void store(BF16* p, VecF v, Partial part) {
  const VecH h = narrow(v);
  for (int64_t i = 0; i < part.n; ++i) p[i].bits = h[i];
}

// The smaller and the larger of x and bound; NaN in x is kept (the instructions return their second operand then).
MILLRACE_INLINE VecF at_most(VecF x, float bound) {
#if defined(MILLRACE_ISA_v4)
  return (VecF)_mm512_maskz_min_ps(0xFFFF, (__m512)splat(bound), (__m512)x);
#elif defined(MILLRACE_ISA_v3)
  return (VecF)_mm256_min_ps((__m256)splat(bound), (__m256)x);
#else
  return (VecF)_mm_min_ps((__m128)splat(bound), (__m128)x);
#endif
}
MILLRACE_INLINE VecF at_least(VecF x, float bound) {
#if defined(MILLRACE_ISA_v4)
  return (VecF)_mm512_maskz_max_ps(0xFFFF, (__m512)splat(bound), (__m512)x);
#elif defined(MILLRACE_ISA_v3)
  return (VecF)_mm256_max_ps((__m256)splat(bound), (__m256)x);
#else
  return (VecF)_mm_max_ps((__m128)splat(bound), (__m128)x);
#endif
}

// (The unmasked AVX-512 forms make GCC 12 warn inside its own header.)
MILLRACE_INLINE VecF square_root(VecF x) {
#if defined(MILLRACE_ISA_v4)
  return (VecF)_mm512_maskz_sqrt_ps(0xFFFF, (__m512)x);
#elif defined(MILLRACE_ISA_v3)
  return (VecF)_mm256_sqrt_ps((__m256)x);
#else
  return (VecF)_mm_sqrt_ps((__m128)x);
#endif
}

// Lane by lane; b where one is NaN.
MILLRACE_INLINE VecF larger(VecF a, VecF b) {
  return a > b ? a : b;
}

// Replaces the invalid lanes.
MILLRACE_INLINE VecF with_others(VecF v, float /*others*/, Full) {
  return v;
}
MILLRACE_INLINE VecF with_others(VecF v, float others, Partial part) {
  for (int64_t i = part.n; i < kLanes; ++i) v[i] = others;
  return v;
}
template <typename Part>
MILLRACE_INLINE VecF keep(VecF v, Part part) {
  return with_others(v, 0, part);
}

MILLRACE_INLINE float reduce_larger(VecF v) {
  float largest = v[0];
  for (int i = 1; i < kLanes; ++i) largest = v[i] > largest ? v[i] : largest;
  return largest;
}
MILLRACE_INLINE float reduce_add(VecF v) {
#if defined(MILLRACE_ISA_v4)
  const auto v8 = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                  __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  const auto v4 = __builtin_shufflevector(v8, v8, 0, 1, 2, 3) + __builtin_shufflevector(v8, v8, 4, 5, 6, 7);
#elif defined(MILLRACE_ISA_v3)
  const auto v4 = __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
#else
  const auto v4 = v;
#endif
  return (v4[0] + v4[2]) + (v4[1] + v4[3]);
}

// (a0, a1, a2, a3, ...) -> (a1, a0, a3, a2, ...)
MILLRACE_INLINE VecF swap_pairs(VecF v) {
#if defined(MILLRACE_ISA_v4)
  return __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
#elif defined(MILLRACE_ISA_v3)
  return __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6);
#else
  return __builtin_shufflevector(v, v, 1, 0, 3, 2);
#endif
}

// f(i, Full or Partial) for i = 0, kLanes, ...
template <typename F>
MILLRACE_INLINE void for_vectors(int64_t n, F f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(i, Full{});
  if (i < n) f(i, Partial{n - i});
}

// K sums over a row: f(i, Full or Partial, acc) adds to acc[0..K-1]. Four sets of accumulators hide the latency.
template <int K, typename F>
MILLRACE_INLINE void sum_vectors(int64_t n, float (&sums)[K], F f) {
  VecF acc[4][K] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    f(i, Full{}, acc[0]);
    f(i + kLanes, Full{}, acc[1]);
    f(i + 2 * kLanes, Full{}, acc[2]);
    f(i + 3 * kLanes, Full{}, acc[3]);
  }
  for (; i + kLanes <= n; i += kLanes) f(i, Full{}, acc[0]);
  if (i < n) f(i, Partial{n - i}, acc[1]);
  for (int k = 0; k < K; ++k) sums[k] = reduce_add((acc[0][k] + acc[1][k]) + (acc[2][k] + acc[3][k]));
}

template <typename T>
MILLRACE_INLINE T* row_at(const Rows& rows, int64_t b, int64_t l) {
  return static_cast<T*>(rows.data) + b * rows.batch_stride + l * rows.row_stride;
}
MILLRACE_INLINE float* row_at(const FloatRows& rows, int64_t b) {
  return static_cast<float*>(rows.data) + b * rows.batch_stride;
}

MILLRACE_INLINE void set_zero(float* p, int64_t n) {
  __builtin_memset(p, 0, static_cast<uint64_t>(n) * sizeof(float));
}
template <typename Part>
MILLRACE_INLINE void add_to(float* p, VecF v, Part part) {
  store(p, load(p, part) + v, part);
}

}  // namespace
}  // namespace millrace
