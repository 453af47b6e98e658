#include "kernels/attention_fp32/attention_fp32_raw.h"
#include "kernels/simd_exp.h"

namespace millrace {
namespace {

// The lower bound of exp_bounded(): e^-87 is negligible beside the largest weight, 1.
constexpr float kLeast = -87.0f;

MILLRACE_INLINE VecF exp_of(VecF x) {
  return exp_bounded(at_least(x, kLeast));
}

void hide_others(const ScoreRow& row, float* of) {
  set_zero(of, row.first);
  set_zero(of + row.end, row.columns - row.end);
}

float soften(const ScoreRow& row, float& most, float& sum) {
  hide_others(row, row.scores);
  float* const scores = row.scores + row.first;
  const int64_t count = row.end - row.first;
  VecF tops = splat(most);
  for_vectors(count, [&](int64_t i, auto part) {
    const VecF x = load(scores + i, part) * row.scale;
    store(scores + i, x, part);
    tops = larger(with_others(x, most, part), tops);
  });
  const float top = reduce_larger(tops);

  float sums[1];
  sum_vectors(count, sums, [&](int64_t i, auto part, VecF(&acc)[1]) {
    const VecF weight = keep(exp_of(load(scores + i, part) - top), part);
    store(scores + i, weight, part);
    acc[0] += weight;
  });
  const float correction = exp_of(splat(most - top))[0];
  most = top;
  sum = sum * correction + sums[0];
  return correction;
}

void soften_backward(const ScoreRow& row, float* gradients, float logsumexp, float delta) {
  hide_others(row, row.scores);
  hide_others(row, gradients);
  for_vectors(row.end - row.first, [&](int64_t i, auto part) {
    float* const score = row.scores + row.first + i;
    float* const gradient = gradients + row.first + i;
    const VecF weight = exp_of(load(score, part) * row.scale - logsumexp);
    store(score, weight, part);
    store(gradient, weight * (load(gradient, part) - delta) * row.scale, part);
  });
}

void multiply(float* out, const float* x, float factor, int64_t count) {
  for_vectors(count, [&](int64_t i, auto part) { store(out + i, load(x + i, part) * factor, part); });
}

float dot(const float* x, const float* y, int64_t count) {
  float sums[1];
  sum_vectors(count, sums,
              [&](int64_t i, auto part, VecF(&acc)[1]) { acc[0] += load(x + i, part) * load(y + i, part); });
  return sums[0];
}

}  // namespace

extern const AttentionFp32Kernels MILLRACE_ISA_NAME(attention_fp32_kernels);
const AttentionFp32Kernels MILLRACE_ISA_NAME(attention_fp32_kernels) = {soften, soften_backward, multiply, dot};

}  // namespace millrace
