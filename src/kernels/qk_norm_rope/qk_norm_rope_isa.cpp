#include "kernels/qk_norm_rope/qk_norm_rope_raw.h"
#include "kernels/simd.h"

namespace millrace {
namespace {

// One token's rotation, spread over the lanes of adjacent pairs:
//   cos = (c0, c0, c1, c1, ...), sin = (-s0, s0, -s1, s1, ...), so that rotate(v) = v * cos + swap_pairs(v) * sin.
struct Rotation {
  alignas(64) float cos[kMaxHeadDim];
  alignas(64) float sin[kMaxHeadDim];

  MILLRACE_INLINE void set(const RopeRows& rope, int64_t b, int64_t l, int64_t head_dim) {
    const float* c = rope.cos + b * rope.cos_batch_stride + l * rope.cos_row_stride;
    const float* s = rope.sin + b * rope.sin_batch_stride + l * rope.sin_row_stride;
    for (int64_t p = 0; p < head_dim / 2; ++p) {
      cos[2 * p] = cos[2 * p + 1] = c[p];
      sin[2 * p] = -s[p];
      sin[2 * p + 1] = s[p];
    }
  }
  template <typename Part>
  MILLRACE_INLINE VecF rotate(VecF v, int64_t i, Part part) const {
    return v * load(cos + i, part) + swap_pairs(v) * load(sin + i, part);
  }
  template <typename Part>
  MILLRACE_INLINE VecF rotate_back(VecF v, int64_t i, Part part) const {
    return v * load(cos + i, part) - swap_pairs(v) * load(sin + i, part);
  }
};

template <typename T, typename Part>
MILLRACE_INLINE VecF load_biased(const T* x, const float* bias, int64_t i, Part part) {
  return bias != nullptr ? load(x + i, part) + load(bias + i, part) : load(x + i, part);
}

template <typename T>
MILLRACE_INLINE T* head_at(const Heads& heads, int64_t b, int64_t h, int64_t l) {
  return static_cast<T*>(heads.data) + b * heads.batch_stride + h * heads.head_stride + l * heads.token_stride;
}

template <typename T>
MILLRACE_INLINE void norm_rope_head(const T* x, const float* bias, const float* scale, const Rotation& rotation,
                                    float eps, T* out, int64_t dim) {
  float squares[1];
  sum_vectors(dim, squares, [&](int64_t i, auto part, VecF* acc) {
    const VecF v = keep(load_biased(x, bias, i, part), part);
    acc[0] += v * v;
  });
  const float rms = 1.0f / __builtin_sqrtf(squares[0] / static_cast<float>(dim) + eps);
  for_vectors(dim, [&](int64_t i, auto part) {
    const VecF normed = load_biased(x, bias, i, part) * rms * load(scale + i, part);
    store(out + i, rotation.rotate(normed, i, part), part);
  });
}

template <typename T>
void forward(const QkNormRopeForwardArgs& args, int64_t begin, int64_t end) {
  const int64_t dim = args.head_dim, width = args.heads * dim;
  const float* bias = static_cast<const float*>(args.bias.data);
  const float *q_scale = row_at(args.q_scale, 0), *k_scale = row_at(args.k_scale, 0);
  Rotation rotation;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / args.length, l = row % args.length;
    const T* x = row_at<T>(args.qkv, b, l);
    rotation.set(args.rope, b, l, dim);
    for (int64_t h = 0; h < args.heads; ++h) {
      const int64_t q = h * dim;
      norm_rope_head(x + q, bias ? bias + q : nullptr, q_scale, rotation, args.eps, head_at<T>(args.q, b, h, l), dim);
    }
    for (int64_t h = 0; h < args.heads; ++h) {
      const int64_t k = width + h * dim;
      norm_rope_head(x + k, bias ? bias + k : nullptr, k_scale, rotation, args.eps, head_at<T>(args.k, b, h, l), dim);
    }
    for (int64_t h = 0; h < args.heads; ++h) {
      const int64_t v = 2 * width + h * dim;
      T* out = head_at<T>(args.v, b, h, l);
      const float* v_bias = bias ? bias + v : nullptr;
      for_vectors(dim, [&](int64_t i, auto part) { store(out + i, load_biased(x + v, v_bias, i, part), part); });
    }
  }
}

// With r = rsqrt(mean(x^2) + eps), normed = x * r and g = scale * rotate_back(dy):
//   dscale += rotate_back(dy) * normed,   dx = r * (g - normed * mean(g * normed))
template <typename T>
MILLRACE_INLINE void norm_rope_head_backward(const T* dy, const T* x, const float* bias, const float* scale,
                                             const Rotation& rotation, float eps, T* dx, float* dscale, float* dbias,
                                             int64_t dim) {
  float sums[2];  // x^2, g * x
  sum_vectors(dim, sums, [&](int64_t i, auto part, VecF* acc) {
    const VecF input = keep(load_biased(x, bias, i, part), part);
    acc[0] += input * input;
    acc[1] += rotation.rotate_back(load(dy + i, part), i, part) * load(scale + i, part) * input;
  });
  const float rms = 1.0f / __builtin_sqrtf(sums[0] / static_cast<float>(dim) + eps);
  const float mean = sums[1] * rms / static_cast<float>(dim);
  for_vectors(dim, [&](int64_t i, auto part) {
    const VecF normed = load_biased(x, bias, i, part) * rms;
    const VecF back = rotation.rotate_back(load(dy + i, part), i, part);
    const VecF gradient = rms * (back * load(scale + i, part) - normed * mean);
    add_to(dscale + i, back * normed, part);
    if (dbias != nullptr) add_to(dbias + i, gradient, part);
    store(dx + i, gradient, part);
  });
}

template <typename T>
void backward(const QkNormRopeBackwardArgs& args, int64_t begin, int64_t end, float* dscales, float* dbias) {
  const int64_t dim = args.head_dim, width = args.heads * dim;
  const float* bias = static_cast<const float*>(args.bias.data);
  const float *q_scale = row_at(args.q_scale, 0), *k_scale = row_at(args.k_scale, 0);
  set_zero(dscales, 2 * dim);
  if (dbias != nullptr) set_zero(dbias, 3 * width);
  Rotation rotation;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / args.length, l = row % args.length;
    const T* x = row_at<T>(args.qkv, b, l);
    T* dx = row_at<T>(args.dqkv, b, l);
    rotation.set(args.rope, b, l, dim);
    for (int64_t h = 0; h < args.heads; ++h) {
      const int64_t q = h * dim;
      norm_rope_head_backward(head_at<T>(args.dq, b, h, l), x + q, bias ? bias + q : nullptr, q_scale, rotation,
                              args.eps, dx + q, dscales, dbias ? dbias + q : nullptr, dim);
    }
    for (int64_t h = 0; h < args.heads; ++h) {
      const int64_t k = width + h * dim;
      norm_rope_head_backward(head_at<T>(args.dk, b, h, l), x + k, bias ? bias + k : nullptr, k_scale, rotation,
                              args.eps, dx + k, dscales + dim, dbias ? dbias + k : nullptr, dim);
    }
    for (int64_t h = 0; h < args.heads; ++h) {
      const int64_t v = 2 * width + h * dim;
      const T* dv = head_at<T>(args.dv, b, h, l);
      for_vectors(dim, [&](int64_t i, auto part) {
        const VecF gradient = load(dv + i, part);
        if (dbias != nullptr) add_to(dbias + v + i, gradient, part);
        store(dx + v + i, gradient, part);
      });
    }
  }
}

}  // namespace

extern const QkNormRopeKernels MILLRACE_ISA_NAME(qk_norm_rope_kernels) = {
    {forward<float>, forward<BF16>},
    {backward<float>, backward<BF16>},
};

}  // namespace millrace
