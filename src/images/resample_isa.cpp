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
// One target pixel of four rows, four source pixels per step. vpmaddwd multiplies 16-bit numbers and adds pairs; the
// sums over the high and the low halves of the weights are both exact, and so is high * 2^11 + low: the 32-bit result.
template <int channels>
inline void resample_pixel_of_four_rows(const uint8_t* in, size_t in_stride, const int16_t* halves, int steps,
                                        uint8_t* out, size_t out_stride) {
  // Lane 0 takes pixels 0 and 1, lane 1 pixels 2 and 3, each as r0 r1 g0 g1 b0 b1 (a0 a1) in 16 bits.
  constexpr char z = static_cast<char>(0x80);
  const __m256i order = channels == 3 ? _mm256_setr_epi8(0, z, 3, z, 1, z, 4, z, 2, z, 5, z, z, z, z, z,  //
                                                         6, z, 9, z, 7, z, 10, z, 8, z, 11, z, z, z, z, z)
                                      : _mm256_setr_epi8(0, z, 4, z, 1, z, 5, z, 2, z, 6, z, 3, z, 7, z,  //
                                                         8, z, 12, z, 9, z, 13, z, 10, z, 14, z, 11, z, 15, z);
  const __m256i pick_high = _mm256_setr_epi8(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3,  //
                                             4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7);
  const __m256i pick_low = _mm256_add_epi8(pick_high, _mm256_set1_epi8(8));
  __m256i high_sums[4], low_sums[4];
  for (int row = 0; row < 4; ++row) high_sums[row] = low_sums[row] = _mm256_setzero_si256();
  for (int step = 0; step < steps; ++step) {
    const __m256i both =
        _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(halves + step * 8)));
    const __m256i high = _mm256_shuffle_epi8(both, pick_high);
    const __m256i low = _mm256_shuffle_epi8(both, pick_low);
    for (int row = 0; row < 4; ++row) {
      const uint8_t* source = in + row * in_stride + step * 4 * channels;
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source));
      const __m256i pixels = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), order);
      high_sums[row] = _mm256_add_epi32(high_sums[row], _mm256_madd_epi16(pixels, high));
      low_sums[row] = _mm256_add_epi32(low_sums[row], _mm256_madd_epi16(pixels, low));
    }
  }
  __m128i totals[4];
  for (int row = 0; row < 4; ++row) {
    const __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high_sums[row], 11), low_sums[row]);
    const __m128i total = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    totals[row] = _mm_srai_epi32(_mm_add_epi32(total, _mm_set1_epi32(kHalf)), kBits);
  }
  alignas(16) uint8_t packed[16];
  _mm_store_si128(reinterpret_cast<__m128i*>(packed),
                  _mm_packus_epi16(_mm_packs_epi32(totals[0], totals[1]), _mm_packs_epi32(totals[2], totals[3])));
  for (int row = 0; row < 4; ++row) __builtin_memcpy(out + row * out_stride, packed + 4 * row, channels);
}
#endif

template <int channels>
void resample_rows_of(const uint8_t* in, int in_width, int rows, const ResampleLine& line, int width, uint8_t* out) {
  const size_t in_stride = static_cast<size_t>(in_width) * channels, out_stride = static_cast<size_t>(width) * channels;
  int y = 0;
#ifdef MILLRACE_AVX2
  for (; y + 4 <= rows; y += 4) {
    for (int x = 0; x < width; ++x) {
      const uint8_t* source = in + y * in_stride + static_cast<size_t>(line.first[x]) * channels;
      uint8_t* target = out + y * out_stride + static_cast<size_t>(x) * channels;
      // Whole steps read past the last pixel, where weights are 0, but never past the row.
      const int steps = (line.count[x] + 3) / 4;
      if ((steps - 1) * 4 * channels + 16 <= static_cast<int64_t>(in_width - line.first[x]) * channels) {
        resample_pixel_of_four_rows<channels>(source, in_stride, line.halves + static_cast<size_t>(x) * line.taps * 2,
                                              steps, target, out_stride);
        continue;
      }
      for (int row = 0; row < 4; ++row) {
        resample_pixel<channels>(source + row * in_stride, line.weights + static_cast<size_t>(x) * line.taps,
                                 line.count[x], target + row * out_stride);
      }
    }
  }
#endif
  for (; y < rows; ++y) {
    for (int x = 0; x < width; ++x) {
      resample_pixel<channels>(in + y * in_stride + static_cast<size_t>(line.first[x]) * channels,
                               line.weights + static_cast<size_t>(x) * line.taps, line.count[x],
                               out + y * out_stride + static_cast<size_t>(x) * channels);
    }
  }
}

void resample_rows(const uint8_t* in, int in_width, int rows, int channels, const ResampleLine& line, int width,
                   uint8_t* out) {
  if (channels == 4) {
    resample_rows_of<4>(in, in_width, rows, line, width, out);
  } else {
    resample_rows_of<3>(in, in_width, rows, line, width, out);
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
const PixelKernels kPixelKernels = {resample_rows, resample_columns, rgb_to_planes};

}  // namespace millrace::MILLRACE_ISA
