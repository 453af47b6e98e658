#include "kernels/adamw/adamw_raw.h"
#include "kernels/rounding_simd.h"

namespace millrace {
namespace {

template <typename P, typename G, typename M>
void update(const AdamWArgs& args, int64_t begin, int64_t end) {
  P* const param = static_cast<P*>(args.param);
  G* const grad = static_cast<G*>(args.grad);
  M* const exp_avg = static_cast<M*>(args.exp_avg);
  M* const exp_avg_sq = static_cast<M*>(args.exp_avg_sq);
  BF16* const model_copy = static_cast<BF16*>(args.model_copy);
  constexpr bool kParamBits = __is_same(P, BF16), kMomentBits = __is_same(M, BF16);
  RoundingBits param_bits, exp_avg_bits, exp_avg_sq_bits;
  const AdamWArgs a = args;  // registers, not memory that the stores might change
  const float clip = a.clip_coefficient != nullptr ? *a.clip_coefficient : 1.0f;

  for (int64_t tile = begin; tile < end; tile += kTile) {
    if (a.stochastic) {
      const uint64_t first = a.first_element + static_cast<uint64_t>(tile);
      if constexpr (kParamBits) param_bits.make(a.param_stream, first);
      if constexpr (kMomentBits) {
        exp_avg_bits.make(a.exp_avg_stream, first);
        exp_avg_sq_bits.make(a.exp_avg_sq_stream, first);
      }
    }
    const int64_t count = end - tile < kTile ? end - tile : kTile;
    for_vectors(count, [&](int64_t j, auto part) {
      const int64_t i = tile + j;
      const VecF g = load(grad + i, part) * clip;
      VecF p = load(param + i, part) * a.decay;
      VecF m = load(exp_avg + i, part);
      m = m + a.one_minus_beta1 * (g - m);
      VecF v = load(exp_avg_sq + i, part);
      v = v * a.beta2 + a.one_minus_beta2 * g * g;
      m = store_rounded(exp_avg + i, m, exp_avg_bits.at + j, a.stochastic, part);
      v = store_rounded(exp_avg_sq + i, v, exp_avg_sq_bits.at + j, a.stochastic, part);
      p = p - a.step_size * m / (square_root(v) / a.bias_correction2_sqrt + a.eps);
      p = store_rounded(param + i, p, param_bits.at + j, a.stochastic, part);
      if (model_copy != nullptr) store(model_copy + i, p, part);
      if (a.ema != nullptr) {
        const VecF average = load(a.ema + i, part);
        store(a.ema + i, average + a.one_minus_ema_decay * (p - average), part);
      }
      if (a.zero_grad) store(grad + i, VecF{}, part);
    });
  }
}

template <typename P>
constexpr auto update_of(int grad, int moments) {
  return grad == 0 ? (moments == 0 ? update<P, float, float> : update<P, float, BF16>)
                   : (moments == 0 ? update<P, BF16, float> : update<P, BF16, BF16>);
}

}  // namespace

extern const AdamWKernels MILLRACE_ISA_NAME(adamw_kernels) = {{
    {{update_of<float>(0, 0), update_of<float>(0, 1)}, {update_of<float>(1, 0), update_of<float>(1, 1)}},
    {{update_of<BF16>(0, 0), update_of<BF16>(0, 1)}, {update_of<BF16>(1, 0), update_of<BF16>(1, 1)}},
}};

}  // namespace millrace
