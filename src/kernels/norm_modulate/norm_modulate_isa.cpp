#include "kernels/layer_norm_rows.h"
#include "kernels/norm_modulate/norm_modulate_raw.h"

namespace millrace {
namespace {

template <typename T>
void forward(const NormModulateForwardArgs& args, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / args.length, l = row % args.length;
    const T* x = row_at<T>(args.x, b, l);
    const RowMoments moments = row_moments(x, args.dim, args.eps);
    modulate_row(x, moments, row_at(args.shift, b), row_at(args.scale, b), row_at<T>(args.y, b, l), args.dim);
    if (args.mean != nullptr) args.mean[row] = moments.mean;
    if (args.rstd != nullptr) args.rstd[row] = moments.rstd;
  }
}

template <typename T>
void backward(const NormModulateBackwardArgs& args, int64_t b, int64_t begin, int64_t end, float* dshift,
              float* dscale) {
  set_zero(dshift, args.dim);
  set_zero(dscale, args.dim);
  const float* scale = row_at(args.scale, b);
  for (int64_t l = begin; l < end; ++l) {
    const T* dy = row_at<T>(args.dy, b, l);
    const T* x = row_at<T>(args.x, b, l);
    T* dx = row_at<T>(args.dx, b, l);
    const RowMoments moments{args.mean[b * args.length + l], args.rstd[b * args.length + l]};
    const RowGradientMeans means = modulate_row_sums(dy, x, moments, scale, dshift, dscale, args.dim);
    if (args.accumulate_dx) {
      for_vectors(args.dim, [&](int64_t i, auto part) {
        store(dx + i, load(dx + i, part) + modulate_row_dx(dy, x, moments, scale, means, i, part), part);
      });
    } else {
      for_vectors(args.dim, [&](int64_t i, auto part) {
        store(dx + i, modulate_row_dx(dy, x, moments, scale, means, i, part), part);
      });
    }
  }
}

}  // namespace

extern const NormModulateKernels MILLRACE_ISA_NAME(norm_modulate_kernels) = {
    {forward<float>, forward<BF16>},
    {backward<float>, backward<BF16>},
};

}  // namespace millrace
