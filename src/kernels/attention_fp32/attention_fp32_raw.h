// attention_fp32 on raw memory. See attention_fp32.h for the letters.
//
// A head's queries and keys are cut into blocks. Sides of products are packed as kernels/gemm_fp32 has them: keys and
// values once for all queries.
#pragma once

#include <cstdint>

#include "kernels/gemm_fp32/gemm_fp32_raw.h"

namespace millrace {

// A head's tokens: D numbers each, `stride` elements apart.
struct HeadTokens {
  float* data = nullptr;
  int64_t stride = 0;

  float* row(int64_t token) const { return data + token * stride; }
  HeadTokens from(int64_t token) const { return {row(token), stride}; }
};

// Which keys a query sees.
struct KeyRule {
  bool causal = false;
  int64_t window = 0;
};

// What rows of a block of scores become. A row's keys [first, end) are seen, the others of `columns` are not: they
// become 0.
struct ScoreRow {
  float* scores;
  int64_t first, end, columns;
  float scale;
};

struct AttentionFp32Kernels {
  // Scores become weights, exp(scale * score - most), after `most` has grown to the row's largest. Adds them to `sum`.
  // Returns what earlier weights are to be multiplied by; `sum` already is.
  float (*soften)(const ScoreRow& row, float& most, float& sum);
  // Scores become weights again, exp(scale * score - logsumexp), and gradients of weights become those of products:
  // scale * weight * (gradient - delta).
  void (*soften_backward)(const ScoreRow& row, float* gradients, float logsumexp, float delta);
  void (*multiply)(float* out, const float* x, float factor, int64_t count);
  float (*dot)(const float* x, const float* y, int64_t count);
};
extern const AttentionFp32Kernels attention_fp32_kernels_v2, attention_fp32_kernels_v3, attention_fp32_kernels_v4;

}  // namespace millrace
