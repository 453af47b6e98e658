#include "kernels/gate_residual/gate_residual_raw.h"
#include "kernels/layer_norm_rows.h"

namespace millrace {
namespace {

template <typename T>
MILLRACE_INLINE void add_gated_row(const T* x, const T* y, const float* gate, const float* bias, T* out, int64_t dim) {
  if (bias != nullptr) {
    for_vectors(dim, [&](int64_t i, auto part) {
      store(out + i, load(x + i, part) + load(gate + i, part) * (load(y + i, part) + load(bias + i, part)), part);
    });
  } else {
    for_vectors(dim, [&](int64_t i, auto part) {
      store(out + i, load(x + i, part) + load(gate + i, part) * load(y + i, part), part);
    });
  }
}

template <typename T>
void forward(const GateResidualForwardArgs& args, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / args.length, l = row % args.length;
    add_gated_row(row_at<T>(args.x, b, l), row_at<T>(args.y, b, l), row_at(args.gate, b),
                  static_cast<const float*>(args.bias.data), row_at<T>(args.out, b, l), args.dim);
  }
}

// The norm sees `out` as it is stored, so that the backward pass can recompute from it.
template <typename T>
void norm_forward(const GateResidualForwardArgs& args, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / args.length, l = row % args.length;
    T* out = row_at<T>(args.out, b, l);
    add_gated_row(row_at<T>(args.x, b, l), row_at<T>(args.y, b, l), row_at(args.gate, b),
                  static_cast<const float*>(args.bias.data), out, args.dim);
    const RowMoments moments = row_moments(out, args.dim, args.eps);
    modulate_row(out, moments, row_at(args.shift, b), row_at(args.scale, b), row_at<T>(args.n, b, l), args.dim);
    if (args.mean != nullptr) args.mean[row] = moments.mean;
    if (args.rstd != nullptr) args.rstd[row] = moments.rstd;
  }
}

// y with its bias; without one, y.
template <typename T, typename Part>
MILLRACE_INLINE VecF biased(const T* y, const float* bias, int64_t i, Part part) {
  return bias != nullptr ? load(y + i, part) + load(bias + i, part) : load(y + i, part);
}

template <typename T>
void backward(const GateResidualBackwardArgs& args, int64_t b, int64_t begin, int64_t end, float* sums) {
  set_zero(sums, 2 * args.dim);
  float *dgate = sums, *dout_sum = sums + args.dim;
  const float* gate = row_at(args.gate, b);
  const float* bias = static_cast<const float*>(args.bias.data);
  const bool want_dbias = args.dbias.data != nullptr;
  for (int64_t l = begin; l < end; ++l) {
    const T* dout = row_at<T>(args.dout, b, l);
    const T* y = row_at<T>(args.y, b, l);
    T* dy = row_at<T>(args.dy, b, l);
    for_vectors(args.dim, [&](int64_t i, auto part) {
      const VecF gradient = load(dout + i, part);
      add_to(dgate + i, gradient * biased(y, bias, i, part), part);
      if (want_dbias) add_to(dout_sum + i, gradient, part);
      store(dy + i, gradient * load(gate + i, part), part);
    });
  }
}

}  // namespace

extern const GateResidualKernels MILLRACE_ISA_NAME(gate_residual_kernels) = {
    {forward<float>, forward<BF16>},
    {norm_forward<float>, norm_forward<BF16>},
    {backward<float>, backward<BF16>},
};

}  // namespace millrace
