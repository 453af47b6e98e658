#include "kernels/rms_norm/rms_norm_raw.h"
#include "kernels/simd.h"

namespace millrace {
namespace {

template <typename T>
void forward(const RmsNormForwardArgs& args, int64_t begin, int64_t end) {
  const float* weight = static_cast<const float*>(args.weight.data);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / args.length, l = row % args.length;
    const T* x = row_at<T>(args.x, b, l);
    if (args.branch.data != nullptr) {
      const T* branch = row_at<T>(args.branch, b, l);
      T* sum = row_at<T>(args.sum, b, l);
      for_vectors(args.dim,
                  [&](int64_t i, auto part) { store(sum + i, load(x + i, part) + load(branch + i, part), part); });
      x = sum;
    }
    float squares[1];
    sum_vectors(args.dim, squares, [&](int64_t i, auto part, VecF* acc) {
      const VecF v = load(x + i, part);
      acc[0] += v * v;
    });
    const float rstd = 1.0f / __builtin_sqrtf(squares[0] / static_cast<float>(args.dim) + args.eps);
    T* y = row_at<T>(args.y, b, l);
    for_vectors(args.dim,
                [&](int64_t i, auto part) { store(y + i, load(x + i, part) * rstd * load(weight + i, part), part); });
    if (args.rstd != nullptr) args.rstd[row] = rstd;
  }
}

// dx = rstd * (g - normed * mean(g * normed)),   g = dy * weight, normed = x * rstd
template <typename T>
void backward(const RmsNormBackwardArgs& args, int64_t begin, int64_t end, float* dweight) {
  const float* weight = static_cast<const float*>(args.weight.data);
  if (dweight != nullptr) set_zero(dweight, args.dim);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / args.length, l = row % args.length;
    const T* dy = row_at<T>(args.dy, b, l);
    const T* x = row_at<T>(args.x, b, l);
    T* dx = row_at<T>(args.dx, b, l);
    const float rstd = args.rstd[row];
    float products[1];
    sum_vectors(args.dim, products, [&](int64_t i, auto part, VecF* acc) {
      const VecF gradient_normed = load(dy + i, part) * (load(x + i, part) * rstd);
      if (dweight != nullptr) add_to(dweight + i, gradient_normed, part);
      acc[0] += gradient_normed * load(weight + i, part);
    });
    const float mean = products[0] / static_cast<float>(args.dim);
    for_vectors(args.dim, [&](int64_t i, auto part) {
      const VecF g = load(dy + i, part) * load(weight + i, part);
      VecF gradient = rstd * (g - load(x + i, part) * rstd * mean);
      if (args.accumulate_dx) gradient += load(dx + i, part);
      store(dx + i, gradient, part);
    });
  }
}

}  // namespace

extern const RmsNormKernels MILLRACE_ISA_NAME(rms_norm_kernels) = {
    {forward<float>, forward<BF16>},
    {backward<float>, backward<BF16>},
};

}  // namespace millrace
