#include "kernels/flat_update/flat_update_raw.h"
#include "kernels/rounding_simd.h"

#define MILLRACE_RULE MILLRACE_INLINE
#include "kernels/flat_update/flat_rules.h"

namespace millrace {
namespace {

template <typename Rule, typename P, typename G>
void update(const FlatUpdateArgs& args, int64_t begin, int64_t end, double* sums) {
  P* const param = static_cast<P*>(args.param);
  G* const grad = static_cast<G*>(args.grad);
  BF16* const model_copy = static_cast<BF16*>(args.model_copy);
  RoundingBits bits;
  const FlatUpdateArgs a = args;  // registers, not memory that the stores might change
  const float clip = a.clip_coefficient != nullptr ? *a.clip_coefficient : 1.0f;
  double totals[kFlatSums] = {};

  for (int64_t tile = begin; tile < end; tile += kTile) {
    if constexpr (Rule::kWritesParam && __is_same(P, BF16)) {
      if (a.stochastic) bits.make(a.param_stream, a.first_element + static_cast<uint64_t>(tile));
    }
    // Sums of a tile are fp32, those of tiles fp64.
    VecF tile_sums[kFlatSums] = {};
    const int64_t count = end - tile < kTile ? end - tile : kTile;
    for_vectors(count, [&](int64_t j, auto part) {
      const int64_t i = tile + j;
      VecF p = load(param + i, part), g{}, s[kMaxFlatStates], added[kFlatSums];
      if constexpr (Rule::kReadsGrad) g = load(grad + i, part) * clip;
      for (int k = 0; k < Rule::kStates; ++k) s[k] = load(a.states[k] + i, part);
      Rule::apply(a, p, g, s, added);
      for (int k = 0; k < Rule::kSums; ++k) tile_sums[k] += keep(added[k], part);
      for (int k = 0; k < Rule::kWrittenStates; ++k) store(a.states[k] + i, s[k], part);
      if constexpr (Rule::kWritesParam) {
        p = store_rounded(param + i, p, bits.at + j, a.stochastic, part);
        if (model_copy != nullptr) store(model_copy + i, p, part);
        if (a.average != nullptr) {
          const VecF average = load(a.average + i, part);
          store(a.average + i, average + a.one_minus_average_decay * (p - average), part);
        }
        store(grad + i, VecF{}, part);
      }
    });
    for (int k = 0; k < Rule::kSums; ++k) totals[k] += static_cast<double>(reduce_add(tile_sums[k]));
  }
  for (int k = 0; k < Rule::kSums; ++k) sums[k] = totals[k];
}

}  // namespace

#define MILLRACE_TYPES_OF(Rule)                                \
  {                                                            \
    {update<Rule, float, float>, update<Rule, float, BF16>}, { \
      update<Rule, BF16, float>, update<Rule, BF16, BF16>      \
    }                                                          \
  }
// In the order of FlatRule.
extern const FlatUpdateKernels MILLRACE_ISA_NAME(flat_update_kernels) = {{
    MILLRACE_TYPES_OF(LionRule),
    MILLRACE_TYPES_OF(MomentumSgdRule),
    MILLRACE_TYPES_OF(PlainSgdRule),
    MILLRACE_TYPES_OF(ScheduleFreeRule),
    MILLRACE_TYPES_OF(ProdigyMomentsRule),
    MILLRACE_TYPES_OF(ScaledMomentsRule),
    MILLRACE_TYPES_OF(ProdigyStepRule),
    MILLRACE_TYPES_OF(ScheduleFreeStepRule),
    MILLRACE_TYPES_OF(DAdaptAdamMomentsRule),
    MILLRACE_TYPES_OF(DAdaptPreprintMomentsRule),
    MILLRACE_TYPES_OF(DAdaptLionMomentsRule),
    MILLRACE_TYPES_OF(DAdaptSgdMomentsRule),
    MILLRACE_TYPES_OF(DAdaptAdaGradMomentsRule),
    MILLRACE_TYPES_OF(DAdaptAdanMomentsRule),
    MILLRACE_TYPES_OF(DAdaptAdanIpMomentsRule),
    MILLRACE_TYPES_OF(AdanStepRule),
    MILLRACE_TYPES_OF(DualAveragingStepRule),
    MILLRACE_TYPES_OF(DualAveragingScaledStepRule),
}};

}  // namespace millrace
