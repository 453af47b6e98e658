#include "kernels/gelu/gelu_raw.h"
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

// s + x * s * (1 - s) * z', with s = sigmoid(z) and 1 - s = s * exp(-z), which keeps its digits where s is near 1.
MILLRACE_INLINE VecF gelu_tanh_derivative(VecF x) {
  const VecF c = at_most(at_least(x, -kBound), kBound);
  const VecF square = c * c;
  const VecF e = exp_bounded(-(kTwoRootTwoOverPi * c * (1.0f + kCubic * square)));
  const VecF s = 1.0f / (1.0f + e);
  const VecF slope = kTwoRootTwoOverPi * (1.0f + 3 * kCubic * square);
  return s + c * s * (s * e) * slope;
}

template <typename T>
void forward(const GeluForwardArgs& args, int64_t begin, int64_t end) {
  const float* bias = static_cast<const float*>(args.bias.data);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / args.length, l = row % args.length;
    const T* x = row_at<T>(args.x, b, l);
    T* y = row_at<T>(args.y, b, l);
    if (bias != nullptr) {
      for_vectors(args.dim, [&](int64_t i, auto part) {
        store(y + i, gelu_tanh(load(x + i, part) + load(bias + i, part)), part);
      });
    } else {
      for_vectors(args.dim, [&](int64_t i, auto part) { store(y + i, gelu_tanh(load(x + i, part)), part); });
    }
  }
}

template <typename T>
void backward(const GeluBackwardArgs& args, int64_t begin, int64_t end, float* dbias) {
  const float* bias = static_cast<const float*>(args.bias.data);
  if (dbias != nullptr) set_zero(dbias, args.dim);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / args.length, l = row % args.length;
    const T* dy = row_at<T>(args.dy, b, l);
    const T* x = row_at<T>(args.x, b, l);
    T* dx = row_at<T>(args.dx, b, l);
    for_vectors(args.dim, [&](int64_t i, auto part) {
      VecF input = load(x + i, part);
      if (bias != nullptr) input += load(bias + i, part);
      const VecF gradient = load(dy + i, part) * gelu_tanh_derivative(input);
      if (dbias != nullptr) add_to(dbias + i, gradient, part);
      store(dx + i, gradient, part);
    });
  }
}

}  // namespace

extern const GeluKernels MILLRACE_ISA_NAME(gelu_kernels) = {
    {forward<float>, forward<BF16>},
    {backward<float>, backward<BF16>},
};

}  // namespace millrace
