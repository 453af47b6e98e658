// Weights in fewer bits on raw memory: the CPU levels' table. See quantise.h for the formats.
#pragma once

#include <cstdint>

namespace millrace {

inline constexpr float kLargestE4m3 = 448;  // of float8_e4m3fn

// How NF4's index of a number is found. Differences are rounded to bf16 where the weights are bf16's numbers.
enum class Nf4Search { kMiddles, kDistance, kDistanceBf16 };

struct QuantiseKernels {
  // The largest magnitude of n numbers; infinity if one of them is not finite.
  float (*largest_magnitude)(const float* x, int64_t n);
  // codes[i] = float8_e4m3fn of x[i].
  void (*e4m3)(const float* x, int64_t n, uint8_t* codes);
  // Of x[i] / scale, kept within the format's range.
  void (*e4m3_scaled)(const float* x, int64_t n, float scale, uint8_t* codes);
  void (*int8_scaled)(const float* x, int64_t n, float scale, uint8_t* codes);
  // indices[i]: of the number in `table` that x[i] / scale is nearest to. table: 16 ascending numbers, or, for
  // kMiddles, the 15 between the format's.
  void (*nf4_indices)(const float* x, int64_t n, float scale, Nf4Search search, const float* table, uint8_t* indices);
};
extern const QuantiseKernels quantise_kernels_v2, quantise_kernels_v3, quantise_kernels_v4;

}  // namespace millrace
