#include "kernels/cross_entropy/cross_entropy_raw.h"
#include "kernels/simd_exp.h"

namespace millrace {
namespace {

constexpr float kLowest = -3.4028234663852886e38f;

template <typename T>
MILLRACE_INLINE float largest_of(const T* x, int64_t n) {
  VecF best = splat(kLowest);
  for_vectors(n, [&](int64_t i, auto part) { best = larger(with_others(load(x + i, part), kLowest, part), best); });
  return reduce_larger(best);
}

template <typename T>
MILLRACE_INLINE VecF shifted_exp(const T* x, int64_t i, float largest, Full part) {
  return exp_bounded(at_least(load(x + i, part) - largest, -87.0f));
}
template <typename T>
MILLRACE_INLINE VecF shifted_exp(const T* x, int64_t i, float largest, Partial part) {
  return keep(exp_bounded(at_most(at_least(load(x + i, part) - largest, -87.0f), 0.0f)), part);
}

MILLRACE_INLINE void put(float* p, float x) {
  *p = x;
}
MILLRACE_INLINE void put(BF16* p, float x) {
  store(p, splat(x), Partial{1});
}

template <typename T>
void rows(const CrossEntropyArgs& args, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    T* x = row_at<T>(args.logits, 0, row);
    const int64_t label = args.labels[row];
    const float largest = largest_of(x, args.classes), chosen = load(x + label, Partial{1})[0];
    double total = 0;  // of sums of 1024 in fp32: a vocabulary has so many classes that fp32 alone loses a digit
    for (int64_t first = 0; first < args.classes; first += 1024) {
      float sum[1];
      const int64_t n = args.classes - first < 1024 ? args.classes - first : 1024;
      sum_vectors(n, sum, [&](int64_t i, auto part, VecF* acc) { acc[0] += shifted_exp(x + first, i, largest, part); });
      total += static_cast<double>(sum[0]);
    }
    const double log_sum = __builtin_log(total);
    args.losses[row] = static_cast<float>(log_sum + (static_cast<double>(largest) - static_cast<double>(chosen)));
    if (!args.with_gradient) continue;
    const float factor = static_cast<float>(static_cast<double>(args.scale) / total);
    for_vectors(args.classes,
                [&](int64_t i, auto part) { store(x + i, shifted_exp(x, i, largest, part) * factor, part); });
    const double probability = __builtin_exp(static_cast<double>(chosen) - static_cast<double>(largest) - log_sum);
    put(x + label, static_cast<float>(static_cast<double>(args.scale) * (probability - 1.0)));
  }
}

}  // namespace

extern const CrossEntropyKernels MILLRACE_ISA_NAME(cross_entropy_kernels) = {{rows<float>, rows<BF16>}};

}  // namespace millrace
