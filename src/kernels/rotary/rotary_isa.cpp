#include "kernels/rotary/rotary_raw.h"
#include "kernels/simd.h"

namespace millrace {
namespace {

template <typename T>
void rotate(const RotaryArgs& args, int64_t begin, int64_t end) {
  for (int64_t token = begin; token < end; ++token) {
    const float* cos = args.cos + token * args.pairs;
    const float* sin = args.sin + token * args.pairs;
    for (int64_t head = 0; head < args.heads; ++head) {
      T* first = row_at<T>(args.x, token, head);
      T* second = first + args.pairs;
      for_vectors(args.pairs, [&](int64_t i, auto part) {
        const VecF c = load(cos + i, part), s = args.direction * load(sin + i, part);
        const VecF a = load(first + i, part), b = load(second + i, part);
        store(first + i, a * c - b * s, part);
        store(second + i, b * c + a * s, part);
      });
    }
  }
}

}  // namespace

extern const RotaryKernels MILLRACE_ISA_NAME(rotary_kernels) = {{rotate<float>, rotate<BF16>}};

}  // namespace millrace
