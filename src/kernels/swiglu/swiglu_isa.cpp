#include "kernels/simd_exp.h"
#include "kernels/swiglu/swiglu_raw.h"

namespace millrace {
namespace {

// Beyond it silu(v) is v or nothing, and exp() would leave its range.
constexpr float kBound = 87.0f;

struct Gate {
  VecF bounded, sigmoid, exp_minus;  // v, 1 / (1 + exp(-v)), exp(-v)
};
MILLRACE_INLINE Gate gate_of(VecF v) {
  const VecF low = at_least(v, -kBound);
  const VecF e = exp_bounded(-at_most(low, kBound));
  return {low, 1.0f / (1.0f + e), e};
}

template <typename T>
void forward(const SwigluForwardArgs& args, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / args.length, l = row % args.length;
    const T* gate = row_at<T>(args.gate, b, l);
    const T* up = row_at<T>(args.up, b, l);
    T* y = row_at<T>(args.y, b, l);
    for_vectors(args.dim, [&](int64_t i, auto part) {
      const Gate g = gate_of(load(gate + i, part));
      store(y + i, g.bounded * g.sigmoid * load(up + i, part), part);
    });
  }
}

// silu' = s + v s (1 - s), with 1 - s = s * exp(-v), which keeps its digits where s is near 1.
template <typename T>
void backward(const SwigluBackwardArgs& args, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / args.length, l = row % args.length;
    const T* dy = row_at<T>(args.dy, b, l);
    const T* gate = row_at<T>(args.gate, b, l);
    const T* up = row_at<T>(args.up, b, l);
    T* dgate = row_at<T>(args.dgate, b, l);
    T* dup = row_at<T>(args.dup, b, l);
    for_vectors(args.dim, [&](int64_t i, auto part) {
      const Gate g = gate_of(load(gate + i, part));
      const VecF gradient = load(dy + i, part), factor = load(up + i, part);
      const VecF inner = at_most(g.bounded, kBound);
      const VecF slope = g.sigmoid + inner * g.sigmoid * (g.sigmoid * g.exp_minus);
      store(dgate + i, gradient * factor * slope, part);
      store(dup + i, gradient * (g.bounded * g.sigmoid), part);
    });
  }
}

}  // namespace

extern const SwigluKernels MILLRACE_ISA_NAME(swiglu_kernels) = {
    {forward<float>, forward<BF16>},
    {backward<float>, backward<BF16>},
};

}  // namespace millrace
