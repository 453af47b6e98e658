// Vectorised GELU with tanh, for *_isa.cpp and *_bf16dot.cpp files only.
#pragma once

#include "kernels/simd.h"
#include "kernels/simd_exp.h"

namespace millrace {
namespace {

constexpr float kTwoRootTwoOverPi = 1.5957691216057308f;
constexpr float kCubic = 0.044715f;

// Beyond +-10 the sigmoid is 0 or 1 in fp32 anyway; there |z| is 87.31, just inside what exp_bounded() takes.
constexpr float kBound = 10.0f;

MILLRACE_INLINE VecF gelu_tanh(VecF x) {
  const VecF bounded = at_least(x, -kBound);
  const VecF c = at_most(bounded, kBound);
  const VecF z = kTwoRootTwoOverPi * c * (1.0f + kCubic * (c * c));
  return bounded / (1.0f + exp_bounded(-z));
}

}  // namespace
}  // namespace millrace
