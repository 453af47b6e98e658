// The two hot loops of resizing and the conversion to floats, compiled once per CPU level (resample_isa.cpp).
#pragma once

#include <cstddef>
#include <cstdint>

namespace millrace {

// A table of one CPU level's loops.
struct PixelKernels {
  // One row: out[x][c] = clip8(sum over k < count[x] of in[first[x] + k][c] * weights[x][k]), x < width.
  // Reads at most in_width pixels of `in`.
  void (*resample_row)(const uint8_t* in, int in_width, int channels, const int* first, const int* count,
                       const int32_t* weights, int taps, int width, uint8_t* out);
  // One row of the second pass: out[i] = clip8(sum over k < count of in[k * in_stride + i] * weights[k]), i < size.
  void (*resample_columns)(const uint8_t* in, size_t in_stride, const int32_t* weights, int count, int size,
                           uint8_t* out);
  // Interleaved RGB to three planes of value / 255 * 2 - 1, in fp32 as PyTorch computes it.
  void (*rgb_to_planes)(const uint8_t* in, size_t pixels, float* red, float* green, float* blue);
};

// The best level this machine has, found once.
const PixelKernels& pixel_kernels();
// A level by name (v2, v3, v4), nullptr where this machine lacks it: for tests that compare levels.
const PixelKernels* pixel_kernels(const char* level);

}  // namespace millrace
