// Elements of flat buffers in groups of 8, with stochastic rounding to bf16: shared by optimizer kernels.
#pragma once

#include "base/philox.h"
#include "kernels/cuda_util.cuh"

namespace millrace {
namespace {

constexpr int kGroup = 8;  // elements per thread: those of one Philox block of rounding bits

__device__ __forceinline__ void rounding_words(const RandomStream& stream, uint64_t group, uint32_t (&words)[4]) {
  philox_block(stream, static_cast<uint32_t>(group), words);
}
__device__ __forceinline__ uint32_t bits_of(const uint32_t (&words)[4], int j) {
  return (words[j / 2] >> (j % 2 * 16)) & 0xFFFFu;
}

// x to bf16 with 16 random bits: up with the probability of the part cut off. Every NaN becomes the same quiet one.
__device__ __forceinline__ uint16_t narrow_stochastic(float x, uint32_t random) {
  if (x != x) return 0x7FC0u;
  return static_cast<uint16_t>((__float_as_uint(x) + random) >> 16);
}

// Rounds to T's precision; stores come later.
template <typename T>
__device__ __forceinline__ float rounded(float x, bool stochastic, const uint32_t (&words)[4], int j) {
  if constexpr (sizeof(T) == 4) {
    return x;
  } else {
    if (!stochastic) return bf16_to_float(float_to_bf16(x));
    return __uint_as_float(static_cast<uint32_t>(narrow_stochastic(x, bits_of(words, j))) << 16);
  }
}

// p[0..7], in steps of 16 bytes, or, at the edges and in unaligned memory, the elements [begin, end) of them.
template <typename T>
__device__ __forceinline__ void load_group(const T* p, bool whole, int begin, int end, float (&x)[kGroup]) {
  if (whole) {
    if constexpr (sizeof(T) == 4) {
      load_fp32<kGroup>(p, x);
    } else {
      load<kGroup>(p, x);
    }
  } else {
#pragma unroll
    for (int j = 0; j < kGroup; ++j) x[j] = j >= begin && j < end ? to_float(p[j]) : 0.0f;
  }
}
template <typename T>
__device__ __forceinline__ void store_group(T* p, bool whole, int begin, int end, const float (&x)[kGroup]) {
  if (whole) {
    if constexpr (sizeof(T) == 4) {
      store_fp32<kGroup>(p, x);
    } else {
      store<kGroup>(p, x);
    }
  } else {
    // Unrolled over all 8, so that x stays in registers.
#pragma unroll
    for (int j = 0; j < kGroup; ++j) {
      if (j >= begin && j < end) p[j] = from_float<T>(x[j]);
    }
  }
}

}  // namespace
}  // namespace millrace
