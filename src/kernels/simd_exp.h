// Vectorised exp(), for *_isa.cpp and *_bf16dot.cpp files only.
#pragma once

#include "kernels/simd.h"

namespace millrace {
namespace {

// exp(x) for |x| <= 87.33, within 1.5 ulp: 2^n * e^r, |r| <= ln(2)/2, with Cephes' polynomial for e^r.
MILLRACE_INLINE VecF exp_bounded(VecF x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the integer in the low bits
  const VecF shifted = x * 1.44269504088896341f + kRound;
  const VecF n = shifted - kRound;
  const VecF r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  VecF p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const VecF e = p * (r * r) + r + 1.0f;
  return (VecF)((VecU)e + ((VecU)shifted << 23));
}

}  // namespace
}  // namespace millrace
