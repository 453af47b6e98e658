// Layer norm of one row, shared by the *_isa.cpp files that include one (see simd.h for the rules).
#pragma once

#include "kernels/simd.h"

namespace millrace {
namespace {

struct RowMoments {
  float mean, rstd;
};

// Two passes over a row, which the first one brings into the cache: avoids the cancellation of E[x^2] - E[x]^2.
template <typename T>
MILLRACE_INLINE RowMoments row_moments(const T* x, int64_t dim, float eps) {
  float sum[1], squares[1];
  sum_vectors(dim, sum, [&](int64_t i, auto part, VecF* acc) { acc[0] += load(x + i, part); });
  const float mean = sum[0] / static_cast<float>(dim);
  sum_vectors(dim, squares, [&](int64_t i, auto part, VecF* acc) {
    const VecF d = keep(load(x + i, part) - mean, part);
    acc[0] += d * d;
  });
  return {mean, 1.0f / __builtin_sqrtf(squares[0] / static_cast<float>(dim) + eps)};
}

template <typename T>
MILLRACE_INLINE void modulate_row(const T* x, RowMoments moments, const float* shift, const float* scale, T* y,
                                  int64_t dim) {
  for_vectors(dim, [&](int64_t i, auto part) {
    const VecF normed = (load(x + i, part) - moments.mean) * moments.rstd;
    store(y + i, normed * (1.0f + load(scale + i, part)) + load(shift + i, part), part);
  });
}

// Adds to dshift and dscale and returns the means that the gradient of a row needs:
//   dx = rstd * (g - mean(g) - normed * mean(g * normed)),   g = dy * (1 + scale)
struct RowGradientMeans {
  float g, g_normed;
};
template <typename T>
MILLRACE_INLINE RowGradientMeans modulate_row_sums(const T* dy, const T* x, RowMoments moments, const float* scale,
                                                   float* dshift, float* dscale, int64_t dim) {
  float sums[2];
  sum_vectors(dim, sums, [&](int64_t i, auto part, VecF* acc) {
    const VecF gradient = load(dy + i, part);
    const VecF normed = (load(x + i, part) - moments.mean) * moments.rstd;
    const VecF gradient_normed = gradient * normed;
    const VecF factor = 1.0f + load(scale + i, part);
    add_to(dshift + i, gradient, part);
    add_to(dscale + i, gradient_normed, part);
    acc[0] += gradient * factor;
    acc[1] += gradient_normed * factor;
  });
  return {sums[0] / static_cast<float>(dim), sums[1] / static_cast<float>(dim)};
}
template <typename T, typename Part>
MILLRACE_INLINE VecF modulate_row_dx(const T* dy, const T* x, RowMoments moments, const float* scale,
                                     RowGradientMeans means, int64_t i, Part part) {
  const VecF normed = (load(x + i, part) - moments.mean) * moments.rstd;
  const VecF g = load(dy + i, part) * (1.0f + load(scale + i, part));
  return moments.rstd * ((g - means.g) - normed * means.g_normed);
}

}  // namespace
}  // namespace millrace
