// Compiled once per CPU level. No standard templates here: the linker could pick a copy made for a newer CPU.
#include "images/resample_kernels.h"

#if defined(MILLRACE_ISA_v3) || defined(MILLRACE_ISA_v4)
#include <immintrin.h>
#define MILLRACE_AVX2 1
#endif

namespace millrace::MILLRACE_ISA {
namespace {

constexpr int kBits = 22;  // kCoefficientBits
constexpr int32_t kHalf = 1 << (kBits - 1);

inline uint8_t clip8(int32_t sum) {
  const int32_t value = sum >> kBits;
  return static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

template <int channels>
inline void resample_pixel(const uint8_t* in, const int32_t* weights, int count, uint8_t* out) {
  int32_t sums[channels];
  for (int c = 0; c < channels; ++c) sums[c] = kHalf;
  for (int k = 0; k < count; ++k) {
    for (int c = 0; c < channels; ++c) sums[c] += in[k * channels + c] * weights[k];
  }
  for (int c = 0; c < channels; ++c) out[c] = clip8(sums[c]);
}

#ifdef MILLRACE_AVX2
// Four source pixels per step. vpmaddwd multiplies 16-bit numbers, so a weight is split into weight = high * 2^11 + low
// (0 <= low < 2^11); both partial sums are exact, and so is their sum: the result is the 32-bit one.
template <int channels>
inline void resample_pixel_avx2(const uint8_t* in, const int32_t* weights, int steps, uint8_t* out) {
  // Lane 0 holds pixels 0 and 1, lane 1 pixels 2 and 3, each as r0 r1 g0 g1 b0 b1 (a0 a1) in 16 bits.
  constexpr char z = static_cast<char>(0x80);
  const __m256i order = channels == 3 ? _mm256_setr_epi8(0, z, 3, z, 1, z, 4, z, 2, z, 5, z, z, z, z, z,  //
                                                         6, z, 9, z, 7, z, 10, z, 8, z, 11, z, z, z, z, z)
                                      : _mm256_setr_epi8(0, z, 4, z, 1, z, 5, z, 2, z, 6, z, 3, z, 7, z,  //
                                                         8, z, 12, z, 9, z, 13, z, 10, z, 14, z, 11, z, 15, z);
  const __m256i spread = _mm256_setr_epi8(0, 1, 4, 5, 0, 1, 4, 5, 0, 1, 4, 5, 0, 1, 4, 5,  //
                                          8, 9, 12, 13, 8, 9, 12, 13, 8, 9, 12, 13, 8, 9, 12, 13);
  const __m128i low_mask = _mm_set1_epi32((1 << 11) - 1);
  __m256i high_sum = _mm256_setzero_si256();
  __m256i low_sum = _mm256_setzero_si256();
  for (int step = 0; step < steps; ++step) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + step * 4 * channels));
    const __m256i pixels = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), order);
    const __m128i weight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(weights + step * 4));
    const __m256i high = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_srai_epi32(weight, 11)), spread);
    const __m256i low = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_and_si128(weight, low_mask)), spread);
    high_sum = _mm256_add_epi32(high_sum, _mm256_madd_epi16(pixels, high));
    low_sum = _mm256_add_epi32(low_sum, _mm256_madd_epi16(pixels, low));
  }
  const __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high_sum, 11), low_sum);
  __m128i total = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  total = _mm_srai_epi32(_mm_add_epi32(total, _mm_set1_epi32(kHalf)), kBits);
  total = _mm_packus_epi16(_mm_packs_epi32(total, total), total);
  const uint32_t packed = static_cast<uint32_t>(_mm_cvtsi128_si32(total));
  for (int c = 0; c < channels; ++c) out[c] = static_cast<uint8_t>(packed >> (8 * c));
}
#endif

template <int channels>
void resample_row_of(const uint8_t* in, [[maybe_unused]] int in_width, const int* first, const int* count,
                     const int32_t* weights, int taps, int width, uint8_t* out) {
  for (int x = 0; x < width; ++x) {
    const uint8_t* source = in + static_cast<size_t>(first[x]) * channels;
    const int32_t* weight = weights + static_cast<size_t>(x) * taps;
#ifdef MILLRACE_AVX2
    // Whole steps read past the last pixel and weight (whose product is then 0); only where both are in bounds.
    const int steps = (count[x] + 3) / 4;
    const int64_t bytes_left = (static_cast<int64_t>(in_width) - first[x]) * channels;
    if (steps * 4 <= taps && (steps - 1) * 4 * channels + 16 <= bytes_left) {
      resample_pixel_avx2<channels>(source, weight, steps, out + static_cast<size_t>(x) * channels);
      continue;
    }
#endif
    resample_pixel<channels>(source, weight, count[x], out + static_cast<size_t>(x) * channels);
  }
}

void resample_row(const uint8_t* in, int in_width, int channels, const int* first, const int* count,
                  const int32_t* weights, int taps, int width, uint8_t* out) {
  if (channels == 4) {
    resample_row_of<4>(in, in_width, first, count, weights, taps, width, out);
  } else {
    resample_row_of<3>(in, in_width, first, count, weights, taps, width, out);
  }
}

void resample_columns(const uint8_t* in, size_t in_stride, const int32_t* weights, int count, int size, uint8_t* out) {
  constexpr int kBlock = 64;
  int start = 0;
  for (; start + kBlock <= size; start += kBlock) {
    int32_t sums[kBlock];
    for (int i = 0; i < kBlock; ++i) sums[i] = kHalf;
    for (int k = 0; k < count; ++k) {
      const uint8_t* row = in + k * in_stride + start;
      const int32_t weight = weights[k];
      for (int i = 0; i < kBlock; ++i) sums[i] += row[i] * weight;
    }
    for (int i = 0; i < kBlock; ++i) out[start + i] = clip8(sums[i]);
  }
  for (; start < size; ++start) {
    int32_t sum = kHalf;
    for (int k = 0; k < count; ++k) sum += in[k * in_stride + start] * weights[k];
    out[start] = clip8(sum);
  }
}

void rgb_to_planes(const uint8_t* in, size_t pixels, float* red, float* green, float* blue) {
  for (size_t i = 0; i < pixels; ++i) {
    red[i] = static_cast<float>(in[3 * i]) / 255.0f * 2.0f - 1.0f;
    green[i] = static_cast<float>(in[3 * i + 1]) / 255.0f * 2.0f - 1.0f;
    blue[i] = static_cast<float>(in[3 * i + 2]) / 255.0f * 2.0f - 1.0f;
  }
}

}  // namespace

extern const PixelKernels kPixelKernels;
const PixelKernels kPixelKernels = {resample_row, resample_columns, rgb_to_planes};

}  // namespace millrace::MILLRACE_ISA
