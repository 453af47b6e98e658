// Which source pixels contribute to a target pixel, and their weights.
#pragma once

#include <cstdint>
#include <vector>

#include "images/resample.h"

namespace millrace {

constexpr int kCoefficientBits = 22;  // Pillow's PRECISION_BITS = 32 - 8 - 2

struct ResampleCoefficients {
  int taps = 0;                  // row length of `weights`, a multiple of 4; taps after a target's count are 0
  std::vector<int> first;        // [targets] first source pixel
  std::vector<int> count;        // [targets] source pixels
  std::vector<int32_t> weights;  // [targets, taps] with kCoefficientBits fractional bits
  // The same for loops that multiply 16-bit numbers: weight = high * 2^11 + low, 0 <= low < 2^11, as alternating groups
  // of four highs and four lows.
  std::vector<int16_t> halves;  // [targets, taps / 4, 2, 4]
};

// For the targets [begin, end) of a line of source_size pixels resized to target_size.
ResampleCoefficients resample_coefficients(int source_size, int target_size, int begin, int end, Filter filter);

}  // namespace millrace
