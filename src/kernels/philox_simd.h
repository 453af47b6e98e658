// Philox4x32-10 for one block per lane of a vector; see simd.h for the rules. Bit for bit equal to base/philox.h, of
// which only the struct is used here.
#pragma once

#include "base/philox.h"
#include "kernels/simd.h"

namespace millrace {
namespace {

using VecQ [[gnu::vector_size(kLanes * 4)]] = uint64_t;

// The 64-bit products of the even 32-bit lanes. (The unmasked AVX-512 form makes GCC 12 warn inside its own header.)
MILLRACE_INLINE VecQ multiply_even(VecQ a, VecQ b) {
#if defined(MILLRACE_ISA_v4)
  return (VecQ)_mm512_maskz_mul_epu32(0xFF, (__m512i)a, (__m512i)b);
#elif defined(MILLRACE_ISA_v3)
  return (VecQ)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#else
  return (VecQ)_mm_mul_epu32((__m128i)a, (__m128i)b);
#endif
}

MILLRACE_INLINE void multiply_wide(VecU a, uint32_t factor, VecU* high, VecU* low) {
  const VecQ wide_factor = VecQ{} + static_cast<uint64_t>(factor);
  const VecQ even = multiply_even((VecQ)a, wide_factor);
  const VecQ odd = multiply_even((VecQ)a >> 32, wide_factor);
  *high = (VecU)((even >> 32) | (odd & 0xFFFFFFFF00000000u));
  *low = (VecU)((even & 0x00000000FFFFFFFFu) | (odd << 32));
}

MILLRACE_INLINE VecU lane_numbers() {
  VecU lanes{};
  for (int i = 0; i < kLanes; ++i) lanes[i] = static_cast<uint32_t>(i);
  return lanes;
}

// words[j][i]: word j of block `block + i`.
MILLRACE_INLINE void philox_blocks(const RandomStream& stream, uint32_t block, VecU words[4]) {
  VecU c0 = lane_numbers() + block, c1 = VecU{} + stream.epoch;
  VecU c2 = VecU{} + stream.id[0], c3 = VecU{} + stream.id[1];
  uint32_t k0 = stream.key[0], k1 = stream.key[1];
  for (int round = 0; round < 10; ++round) {
    VecU high0, low0, high1, low1;
    multiply_wide(c0, 0xD2511F53u, &high0, &low0);
    multiply_wide(c2, 0xCD9E8D57u, &high1, &low1);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  words[0] = c0;
  words[1] = c1;
  words[2] = c2;
  words[3] = c3;
}

// (a0, b0, a1, b1, ...): the first kLanes of them, then the rest.
template <typename V>
MILLRACE_INLINE void zip(V a, V b, V* first, V* rest) {
#if defined(MILLRACE_ISA_v4)
  *first = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  *rest = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif defined(MILLRACE_ISA_v3)
  *first = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  *rest = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
  *first = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  *rest = __builtin_shufflevector(a, b, 2, 6, 3, 7);
#endif
}

// Reorders word j of every block, for j = 0..3, into stream order: block by block.
template <typename V>
MILLRACE_INLINE void to_stream_order(const V by_word[4], V in_order[4]) {
  V ac0, ac1, bd0, bd1;
  zip(by_word[0], by_word[2], &ac0, &ac1);
  zip(by_word[1], by_word[3], &bd0, &bd1);
  zip(ac0, bd0, &in_order[0], &in_order[1]);
  zip(ac1, bd1, &in_order[2], &in_order[3]);
}

}  // namespace
}  // namespace millrace
