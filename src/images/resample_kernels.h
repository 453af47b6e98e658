// The two hot loops of resizing and the conversion to floats, compiled once per CPU level (resample_isa.cpp).
#pragma once

#include <cstddef>
#include <cstdint>

namespace millrace {

// The coefficients of one axis, see resample_coefficients.h.
struct ResampleLine {
  const int* first;
  const int* count;
  const int32_t* weights;
  const int16_t* halves;
  int taps;
};

// The loops of one CPU level.
struct PixelKernels {
  // The first pass: out[y][x][c] = clip8(sum over k < count[x] of in[y][first[x] + k][c] * weights[x][k]) for y < rows
  // and x < width; rows of `in` have in_width pixels of 3 or 4 channels, rows of out `width`, both without gaps.
  void (*resample_rows)(const uint8_t* in, int in_width, int rows, int channels, const ResampleLine& line, int width,
                        uint8_t* out);
  // One row of the second pass: out[i] = clip8(sum over k < count of in[k * in_stride + i] * weights[k]), i < size.
  void (*resample_columns)(const uint8_t* in, size_t in_stride, const int32_t* weights, int count, int size,
                           uint8_t* out);
  // Interleaved RGB to three planes of value / 255 * 2 - 1, computed in fp32 as in PyTorch.
  void (*rgb_to_planes)(const uint8_t* in, size_t pixels, float* red, float* green, float* blue);
};

// The best level this machine has, found once.
const PixelKernels& pixel_kernels();
// A level by name (v2, v3, v4), nullptr if this machine lacks it: for tests that compare levels.
const PixelKernels* pixel_kernels(const char* level);

}  // namespace millrace
