// Counter-based random numbers that are the same on every device.
//
// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) maps a 128-bit counter and a
// 64-bit key to four 32-bit words. Uniform and normal numbers are derived with IEEE operations alone (explicit fmaf,
// sqrtf, no libm), so that CPU and GPU agree to the last bit. This header is included by .cpp and .cu files.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__) || defined(__HIPCC__)
#define MILLRACE_HOST_DEVICE __host__ __device__ inline __attribute__((always_inline))
#else
#define MILLRACE_HOST_DEVICE inline
#endif

namespace millrace {

// The purpose of a stream of numbers. Reproducible runs depend on these values: never renumber.
enum class RandomPurpose : uint32_t {
  kNoise = 1,
  kTimestep = 2,
  kPosterior = 3,
  kPromptDropout = 4,
  kAugmentation = 5,
  kShuffle = 6,
  kInit = 7,
  kStochasticRounding = 8,
  kSampling = 9,
};

// Names one stream; the numbers in it are addressed by index and need no state.
struct RandomStream {
  uint32_t key[2];
  uint32_t epoch;
  uint32_t id[2];
};

MILLRACE_HOST_DEVICE uint64_t mix64(uint64_t x) {  // SplitMix64's finaliser
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

MILLRACE_HOST_DEVICE RandomStream random_stream(uint64_t seed, RandomPurpose purpose, uint32_t epoch, uint64_t id) {
  const uint64_t key = mix64(mix64(seed) ^ static_cast<uint64_t>(purpose));
  return {{static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)},
          epoch,
          {static_cast<uint32_t>(id), static_cast<uint32_t>(id >> 32)}};
}

// words[0..3]: the four words of block number `block` of the stream.
MILLRACE_HOST_DEVICE void philox_block(const RandomStream& stream, uint32_t block, uint32_t words[4]) {
  uint32_t c0 = block, c1 = stream.epoch, c2 = stream.id[0], c3 = stream.id[1];
  uint32_t k0 = stream.key[0], k1 = stream.key[1];
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(0xD2511F53u) * c0;
    const uint64_t p1 = static_cast<uint64_t>(0xCD9E8D57u) * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  words[0] = c0;
  words[1] = c1;
  words[2] = c2;
  words[3] = c3;
}

// [0, 1) in steps of 2^-24.
MILLRACE_HOST_DEVICE float word_to_uniform(uint32_t word) {
  return static_cast<float>(word >> 8) * 5.9604644775390625e-8f;
}

// Natural logarithm of x in (0, 1], within 2 ulp; coefficients after Cephes' logf (S. Moshier, public domain tables).
MILLRACE_HOST_DEVICE float portable_log(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  int exponent = static_cast<int>(bits >> 23) - 126;
  bits = (bits & 0x007FFFFFu) | 0x3F000000u;  // mantissa in [0.5, 1)
  float m;
  memcpy(&m, &bits, 4);
  if (m < 0.707106781186547524f) {
    exponent -= 1;
    m = m + m;
  }
  m = m - 1.0f;
  const float z = m * m;
  float p = 7.0376836292e-2f;
  p = fmaf(p, m, -1.1514610310e-1f);
  p = fmaf(p, m, 1.1676998740e-1f);
  p = fmaf(p, m, -1.2420140846e-1f);
  p = fmaf(p, m, 1.4249322787e-1f);
  p = fmaf(p, m, -1.6668057665e-1f);
  p = fmaf(p, m, 2.0000714765e-1f);
  p = fmaf(p, m, -2.4999993993e-1f);
  p = fmaf(p, m, 3.3333331174e-1f);
  const float mz = m * z;
  const float e = static_cast<float>(exponent);
  float y = mz * p;
  y = fmaf(e, -2.12194440e-4f, y);
  y = fmaf(-0.5f, z, y);
  y = m + y;
  return fmaf(e, 0.693359375f, y);
}

// Sine and cosine of 2*pi*turn for turn in [0, 1); the range reduction is exact.
MILLRACE_HOST_DEVICE void portable_sincos_turn(float turn, float* sine, float* cosine) {
  const float quarters = turn * 4.0f;
  const int quadrant = static_cast<int>(quarters + 0.5f);
  const float x = (quarters - static_cast<float>(quadrant)) * 1.57079632679489662f;  // [-pi/4, pi/4]
  const float z = x * x;
  float s = -1.9515295891e-4f;
  s = fmaf(s, z, 8.3321608736e-3f);
  s = fmaf(s, z, -1.6666654611e-1f);
  const float xz = x * z;
  s = fmaf(s, xz, x);
  float c = 2.443315711809948e-5f;
  c = fmaf(c, z, -1.388731625493765e-3f);
  c = fmaf(c, z, 4.166664568298827e-2f);
  const float zz = z * z;
  c = fmaf(c, zz, fmaf(-0.5f, z, 1.0f));
  const bool swap = (quadrant & 1) != 0;
  const float first = swap ? c : s, second = swap ? s : c;
  *sine = (quadrant & 2) != 0 ? -first : first;
  *cosine = ((quadrant + 1) & 2) != 0 ? -second : second;
}

// Two independent N(0,1) numbers from two words (Box and Muller, 1958).
MILLRACE_HOST_DEVICE void words_to_normals(uint32_t a, uint32_t b, float* first, float* second) {
  const float u = static_cast<float>((a >> 8) + 1) * 5.9604644775390625e-8f;  // (0, 1]
  const float radius = sqrtf(-2.0f * portable_log(u));
  float sine, cosine;
  portable_sincos_turn(word_to_uniform(b), &sine, &cosine);
  *first = radius * cosine;
  *second = radius * sine;
}

// Number `index` of the stream. For many numbers in a row, take whole blocks.
MILLRACE_HOST_DEVICE uint32_t random_word(const RandomStream& stream, uint64_t index) {
  uint32_t words[4];
  philox_block(stream, static_cast<uint32_t>(index / 4), words);
  return words[index % 4];
}
MILLRACE_HOST_DEVICE float random_uniform(const RandomStream& stream, uint64_t index) {
  return word_to_uniform(random_word(stream, index));
}
MILLRACE_HOST_DEVICE float random_normal(const RandomStream& stream, uint64_t index) {
  uint32_t words[4];
  philox_block(stream, static_cast<uint32_t>(index / 4), words);
  const int pair = static_cast<int>(index % 4) & 2;
  float first, second;
  words_to_normals(words[pair], words[pair + 1], &first, &second);
  return (index & 1) != 0 ? second : first;
}

// Uniform integer in [0, bound), bound > 0; bias below bound / 2^64.
MILLRACE_HOST_DEVICE uint64_t random_below(const RandomStream& stream, uint64_t index, uint64_t bound) {
  const uint64_t word =
      (static_cast<uint64_t>(random_word(stream, 2 * index + 1)) << 32) | random_word(stream, 2 * index);
#ifdef __CUDA_ARCH__
  return __umul64hi(word, bound);
#else
  return static_cast<uint64_t>((static_cast<unsigned __int128>(word) * bound) >> 64);
#endif
}

}  // namespace millrace
