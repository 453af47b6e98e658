#include "kernels/adamw8bit/adamw8bit_raw.h"
#include "kernels/rounding_simd.h"

namespace millrace {
namespace {

constexpr int64_t kBlock = 256;

MILLRACE_INLINE VecF magnitude(VecF x) {
  return (VecF)((VecU)x & 0x7FFFFFFFu);
}
MILLRACE_INLINE float largest_of(VecF v) {
  float largest = 0;
  for (int i = 0; i < kLanes; ++i) largest = v[i] > largest ? v[i] : largest;
  return largest;
}

void decode(const uint8_t* codes, const float* values, float scale, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = values[codes[i]] * scale;
}

// The number of midpoints below z: the code whose value is nearest. Eight bisection steps, in lockstep for a vector's
// worth of elements.
void encode(const float* x, const float* middles, float scale, int64_t n, uint8_t* codes) {
  const float inverse_of_zero = scale > 0 ? 1.0f : 0.0f;  // a block of zeros
  const float divisor = scale > 0 ? scale : 1.0f;
  for_vectors(n, [&](int64_t i, auto part) {
    const VecF z = load(x + i, part) / divisor * inverse_of_zero;
    VecI code{};
    for (int32_t step = kCodes / 2; step > 0; step /= 2) {
      VecF middle;
      for (int lane = 0; lane < kLanes; ++lane) middle[lane] = middles[code[lane] + step - 1];
      code = z > middle ? code + step : code;
    }
    const int64_t count = n - i < kLanes ? n - i : kLanes;
    for (int64_t lane = 0; lane < count; ++lane) codes[i + lane] = static_cast<uint8_t>(code[lane]);
  });
}

// The rounding bits of the parameter's n elements from `first` on.
MILLRACE_INLINE void make_bits(const RandomStream& stream, uint64_t first, int64_t n, uint16_t (&bits)[kBlock]) {
  static_assert(kBlock % kTile == 0);
  for (int64_t tile = 0; tile < n; tile += kTile) {
    RoundingBits made;
    made.make(stream, first + static_cast<uint64_t>(tile));
    __builtin_memcpy(bits + tile, made.at, kTile * sizeof bits[0]);
  }
}

template <QuantizedPass pass, typename P, typename G>
void update_block(const AdamW8bitArgs& a, int64_t block, int64_t begin, int64_t n, float clip) {
  P* const param = static_cast<P*>(a.param) + begin;
  G* const grad = static_cast<G*>(a.grad) + begin;
  alignas(64) float m[kBlock], v[kBlock];
  decode(a.m_codes + begin, a.m_values, a.m_scales[block], n, m);
  decode(a.v_codes + begin, a.v_values, a.v_scales[block], n, v);
  alignas(64) uint16_t bits[kBlock];
  if constexpr (__is_same(P, BF16) && pass != QuantizedPass::kGatherScales) {
    if (a.stochastic) make_bits(a.param_stream, static_cast<uint64_t>(a.first_element + begin), n, bits);
  }
  VecF m_largest{}, v_largest{};
  for_vectors(n, [&](int64_t i, auto part) {
    const VecF g = load(grad + i, part) * clip;
    const VecF new_m = load(m + i, part) * a.beta1 + a.one_minus_beta1 * g;
    const VecF new_v = load(v + i, part) * a.beta2 + a.one_minus_beta2 * g * g;
    store(m + i, new_m, part);
    store(v + i, new_v, part);
    m_largest = larger(magnitude(keep(new_m, part)), m_largest);
    v_largest = larger(keep(new_v, part), v_largest);
    if constexpr (pass != QuantizedPass::kGatherScales) {
      VecF p = load(param + i, part) * a.decay - a.step_size * (new_m / (square_root(new_v) + a.eps));
      p = store_rounded(param + i, p, bits + i, a.stochastic, part);
      if (a.model_copy != nullptr) store(static_cast<BF16*>(a.model_copy) + begin + i, p, part);
      store(grad + i, VecF{}, part);
    }
  });
  float m_scale = largest_of(m_largest), v_scale = largest_of(v_largest);
  if constexpr (pass == QuantizedPass::kGatherScales) {
    if (m_scale > a.new_m_scales[block]) a.new_m_scales[block] = m_scale;
    if (v_scale > a.new_v_scales[block]) a.new_v_scales[block] = v_scale;
    return;
  }
  if constexpr (pass == QuantizedPass::kWithScales) {
    m_scale = a.new_m_scales[block];
    v_scale = a.new_v_scales[block];
  } else {
    a.m_scales[block] = m_scale;
    a.v_scales[block] = v_scale;
  }
  encode(m, a.m_middles, m_scale, n, a.m_codes + begin);
  encode(v, a.v_middles, v_scale, n, a.v_codes + begin);
}

template <QuantizedPass pass, typename P, typename G>
void update(const AdamW8bitArgs& args, int64_t begin, int64_t end) {
  const float clip = args.clip_coefficient != nullptr ? *args.clip_coefficient : 1.0f;
  const int64_t lead = args.first_element % kBlock;
  for (int64_t block = begin; block < end; ++block) {
    const int64_t at = block * kBlock - lead, first = at > 0 ? at : 0;
    const int64_t last = at + kBlock < args.size ? at + kBlock : args.size;
    update_block<pass, P, G>(args, block, first, last - first, clip);
  }
}

template <QuantizedPass pass>
constexpr auto update_of(int param, int grad) {
  return param == 0 ? (grad == 0 ? update<pass, float, float> : update<pass, float, BF16>)
                    : (grad == 0 ? update<pass, BF16, float> : update<pass, BF16, BF16>);
}

}  // namespace

#define MILLRACE_TYPES_OF(pass)                       \
  {                                                   \
    {update_of<pass>(0, 0), update_of<pass>(0, 1)}, { \
      update_of<pass>(1, 0), update_of<pass>(1, 1)    \
    }                                                 \
  }
extern const AdamW8bitKernels MILLRACE_ISA_NAME(adamw8bit_kernels) = {{MILLRACE_TYPES_OF(QuantizedPass::kWhole),
                                                                       MILLRACE_TYPES_OF(QuantizedPass::kGatherScales),
                                                                       MILLRACE_TYPES_OF(QuantizedPass::kWithScales)}};
#undef MILLRACE_TYPES_OF

}  // namespace millrace
