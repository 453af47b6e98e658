// Stochastic rounding to bf16 for optimizer kernels; see simd.h for the rules and rounding_stream.h for which bits an
// element gets.
#pragma once

#include "kernels/philox_simd.h"

namespace millrace {
namespace {

// Rounding bits are made for this many elements at a time: 8 to a Philox block.
constexpr int64_t kTile = 8 * kLanes;

// The bits of elements [first, first + kTile), which start anywhere in a block.
struct RoundingBits {
  alignas(64) uint16_t bits[2 * kTile];
  const uint16_t* at = nullptr;  // of element `first`

  MILLRACE_INLINE void make(const RandomStream& stream, uint64_t first) {
    fill(stream, first / 8, bits);
    if (first % 8 != 0) fill(stream, first / 8 + kLanes, bits + kTile);
    at = bits + first % 8;
  }

 private:
  MILLRACE_INLINE static void fill(const RandomStream& stream, uint64_t block, uint16_t* out) {
    VecU words[4], in_order[4];
    philox_blocks(stream, static_cast<uint32_t>(block), words);
    to_stream_order(words, in_order);
    __builtin_memcpy(out, in_order, sizeof in_order);
  }
};

MILLRACE_INLINE VecH load_bits(const uint16_t* p, Full) {
  VecH h;
  __builtin_memcpy(&h, p, sizeof h);
  return h;
}
MILLRACE_INLINE VecH load_bits(const uint16_t* p, Partial part) {
  VecH h{};
  for (int64_t i = 0; i < part.n; ++i) h[i] = p[i];
  return h;
}
template <typename Part>
MILLRACE_INLINE void store_bits(uint16_t* p, VecH h, Part part) {
  if constexpr (__is_same(Part, Full)) {
    __builtin_memcpy(p, &h, sizeof h);
  } else {
    for (int64_t i = 0; i < part.n; ++i) p[i] = h[i];
  }
}

// x to bf16 with 16 random bits per lane: up with the probability of the part cut off.
MILLRACE_INLINE VecH narrow_stochastic(VecF x, VecH random) {
  const VecU u = (VecU)x;
  const VecU sum = (u + widen_bits(random)) >> 16;
  return narrow_bits(x != x ? VecU{} + 0x7FC0u : sum);
}

// Stores x as T, and returns the rounded value.
template <typename Part>
MILLRACE_INLINE VecF store_rounded(float* p, VecF x, const uint16_t*, bool, Part part) {
  store(p, x, part);
  return x;
}
template <typename Part>
MILLRACE_INLINE VecF store_rounded(BF16* p, VecF x, const uint16_t* random, bool stochastic, Part part) {
  const VecH h = stochastic ? narrow_stochastic(x, load_bits(random, part)) : narrow(x);
  store_bits(&p->bits, h, part);
  return widen(h);
}

}  // namespace
}  // namespace millrace
