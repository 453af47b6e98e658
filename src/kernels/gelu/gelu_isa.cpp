#include "kernels/gelu/gelu_raw.h"
#include "kernels/gelu/gelu_simd.h"

namespace millrace {
namespace {

// s + x * s * (1 - s) * z', with s = sigmoid(z) and 1 - s = s * exp(-z), which stays accurate where s is near 1.
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
