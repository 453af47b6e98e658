// The numbers in GGUF's blocks, once for files, CPUs of every level and GPUs.
//
// A block is groups of elements that share a scale and perhaps an offset:
//   value = scale.d * code + scale.m
// with one rounding after the product and one after the sum, as gguf-py computes it: files that include this are
// compiled without contraction into fma. Formats without an offset add nothing, which keeps -0.
//
// Everything here lives in an anonymous namespace, as in kernels/simd.h: *_isa.cpp files include it.
#pragma once

#include <cstdint>

#if defined(__CUDACC__) || defined(__HIPCC__)
#define MILLRACE_DECODE __host__ __device__ static inline __attribute__((always_inline, unused))
#else
#define MILLRACE_DECODE [[gnu::always_inline, maybe_unused]] static inline
#endif

namespace millrace {
namespace {

MILLRACE_DECODE float float_of_bits(uint32_t bits) {
  return __builtin_bit_cast(float, bits);
}

// Two bytes, little-endian, of IEEE half precision. The multiplication rebiases the exponent, and makes subnormal
// numbers normal.
MILLRACE_DECODE float half_at(const uint8_t* bytes) {
  const uint32_t bits = bytes[0] | static_cast<uint32_t>(bytes[1]) << 8;
  const uint32_t magnitude = bits & 0x7FFF, sign = (bits & 0x8000) << 16;
  const bool is_finite = magnitude < 0x7C00;
  const float scaled = float_of_bits(magnitude << 13 | (is_finite ? 0 : 0x7F800000u)) * (is_finite ? 0x1p112f : 1.0f);
  return sign ? -scaled : scaled;
}

// float8_e4m3fn: no infinity, 0x7F and 0xFF are NaN.
MILLRACE_DECODE float float_of_e4m3(uint8_t bits) {
  const uint32_t magnitude = bits & 0x7F, sign = static_cast<uint32_t>(bits & 0x80) << 24;
  const float subnormal = static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-9f;
  const float normal = float_of_bits((magnitude << 20) + (120u << 23));
  const float value = magnitude < 8 ? subnormal : (magnitude == 0x7F ? float_of_bits(0x7FC00000u) : normal);
  return sign ? -value : value;
}

struct BlockScale {
  float d, m;
};

struct BlocksQ4_0 {
  static constexpr int kElements = 32, kBytes = 18, kGroup = 16;
  static constexpr bool kHasOffset = false;
  MILLRACE_DECODE BlockScale scale(const uint8_t* block, int /*group*/) { return {half_at(block), 0}; }
  MILLRACE_DECODE int code(const uint8_t* block, int group, int i) { return (block[2 + i] >> 4 * group & 15) - 8; }
};

struct BlocksQ4_1 {
  static constexpr int kElements = 32, kBytes = 20, kGroup = 16;
  static constexpr bool kHasOffset = true;
  MILLRACE_DECODE BlockScale scale(const uint8_t* block, int /*group*/) { return {half_at(block), half_at(block + 2)}; }
  MILLRACE_DECODE int code(const uint8_t* block, int group, int i) { return block[4 + i] >> 4 * group & 15; }
};

// The fifth bits of 32 elements, one after the other.
MILLRACE_DECODE int fifth_bit(const uint8_t* bits, int element) {
  const uint32_t word = bits[0] | bits[1] << 8 | bits[2] << 16 | static_cast<uint32_t>(bits[3]) << 24;
  return static_cast<int>(word >> element & 1) << 4;
}

struct BlocksQ5_0 {
  static constexpr int kElements = 32, kBytes = 22, kGroup = 16;
  static constexpr bool kHasOffset = false;
  MILLRACE_DECODE BlockScale scale(const uint8_t* block, int /*group*/) { return {half_at(block), 0}; }
  MILLRACE_DECODE int code(const uint8_t* block, int group, int i) {
    return ((block[6 + i] >> 4 * group & 15) | fifth_bit(block + 2, 16 * group + i)) - 16;
  }
};

struct BlocksQ5_1 {
  static constexpr int kElements = 32, kBytes = 24, kGroup = 16;
  static constexpr bool kHasOffset = true;
  MILLRACE_DECODE BlockScale scale(const uint8_t* block, int /*group*/) { return {half_at(block), half_at(block + 2)}; }
  MILLRACE_DECODE int code(const uint8_t* block, int group, int i) {
    return (block[8 + i] >> 4 * group & 15) | fifth_bit(block + 4, 16 * group + i);
  }
};

struct BlocksQ8_0 {
  static constexpr int kElements = 32, kBytes = 34, kGroup = 32;
  static constexpr bool kHasOffset = false;
  MILLRACE_DECODE BlockScale scale(const uint8_t* block, int /*group*/) { return {half_at(block), 0}; }
  MILLRACE_DECODE int code(const uint8_t* block, int /*group*/, int i) { return static_cast<int8_t>(block[2 + i]); }
};

// Q4_K and Q5_K: a scale and a minimum in 6 bits for each of 8 groups, packed into 12 bytes that follow two halves.
// Groups 0 to 3 have the low 6 bits of bytes 0..3 and 4..7; groups 4 to 7 have 4 bits in bytes 8..11 (scale low,
// minimum high) and the 2 bits that the first ones left.
MILLRACE_DECODE BlockScale packed_scale(const uint8_t* block, int group) {
  const uint8_t* scales = block + 4;
  const int low = group & 3;
  const int d = group < 4 ? scales[low] & 63 : (scales[8 + low] & 15) | (scales[low] >> 2 & 48);
  const int m = group < 4 ? scales[4 + low] & 63 : scales[8 + low] >> 4 | (scales[4 + low] >> 2 & 48);
  return {half_at(block) * static_cast<float>(d), -(half_at(block + 2) * static_cast<float>(m))};
}

struct BlocksQ4_K {
  static constexpr int kElements = 256, kBytes = 144, kGroup = 32;
  static constexpr bool kHasOffset = true;
  MILLRACE_DECODE BlockScale scale(const uint8_t* block, int group) { return packed_scale(block, group); }
  MILLRACE_DECODE int code(const uint8_t* block, int group, int i) {
    return block[16 + 32 * (group >> 1) + i] >> 4 * (group & 1) & 15;
  }
};

struct BlocksQ5_K {
  static constexpr int kElements = 256, kBytes = 176, kGroup = 32;
  static constexpr bool kHasOffset = true;
  MILLRACE_DECODE BlockScale scale(const uint8_t* block, int group) { return packed_scale(block, group); }
  MILLRACE_DECODE int code(const uint8_t* block, int group, int i) {
    return (block[48 + 32 * (group >> 1) + i] >> 4 * (group & 1) & 15) | (block[16 + i] >> group & 1) << 4;
  }
};

// Halves of 128 elements: 64 bytes of low bits, in two rounds of nibbles, and 32 bytes with four pairs of high bits.
struct BlocksQ6_K {
  static constexpr int kElements = 256, kBytes = 210, kGroup = 16;
  static constexpr bool kHasOffset = false;
  MILLRACE_DECODE BlockScale scale(const uint8_t* block, int group) {
    return {half_at(block + 208) * static_cast<float>(static_cast<int8_t>(block[192 + group])), 0};
  }
  MILLRACE_DECODE int code(const uint8_t* block, int group, int i) {
    const int half = group >> 3, in_half = (group & 7) * 16;
    const int low = block[64 * half + (in_half & 63) + i] >> 4 * (in_half >> 6) & 15;
    const int high = block[128 + 32 * half + (in_half & 31) + i] >> 2 * (in_half >> 5) & 3;
    return (low | high << 4) - 32;
  }
};

template <typename Blocks>
MILLRACE_DECODE float block_value(BlockScale scale, int code) {
  const float product = scale.d * static_cast<float>(code);
  if constexpr (Blocks::kHasOffset) return product + scale.m;
  return product;
}

// All values of one block.
template <typename Blocks>
MILLRACE_DECODE void decode_block(const uint8_t* block, float* out) {
  for (int group = 0; group < Blocks::kElements / Blocks::kGroup; ++group) {
    const BlockScale scale = Blocks::scale(block, group);
    for (int i = 0; i < Blocks::kGroup; ++i) {
      out[group * Blocks::kGroup + i] = block_value<Blocks>(scale, Blocks::code(block, group, i));
    }
  }
}

}  // namespace
}  // namespace millrace
