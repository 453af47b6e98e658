// Element-wise optimizer rules on raw memory: the CPU levels' table and the CUDA entry point. See flat_update.h.
#pragma once

#include "kernels/raw.h"
#include "kernels/rounding_stream.h"

namespace millrace {

constexpr int kFlatRules = 18;
constexpr int kMaxFlatStates = 5;
constexpr int kFlatSums = 3;

struct FlatUpdateArgs {
  int64_t size;
  ElementType param_type, grad_type;
  void *param, *grad;
  float* states[kMaxFlatStates];
  void* model_copy;  // bf16, or null
  float* average;    // or null
  uint64_t first_element;

  const float* clip_coefficient;  // one element on the device of the buffers, or null
  float decay, weight_decay;
  float step_size, grad_share, state_share;
  float beta1, one_minus_beta1, beta2, one_minus_beta2, beta3, one_minus_beta3;
  float eps;
  float bias_correction2, mix, lookahead;
  float one_minus_average_decay;
  bool stochastic;  // when param is bf16
  RandomStream param_stream;
};

struct FlatUpdateKernels {
  // Elements [begin, end). sums[kFlatSums] gets the rule's sums over them, if it has any. Indexed by rule and by the
  // types of param and grad.
  void (*update[kFlatRules][2][2])(const FlatUpdateArgs& args, int64_t begin, int64_t end, double* sums);
};
extern const FlatUpdateKernels flat_update_kernels_v2, flat_update_kernels_v3, flat_update_kernels_v4;

// sums[kFlatSums] += the rule's sums; partials: fp64 scratch of flat_update_partials_size(size) elements. Both are null
// for a rule without sums. stream: a cudaStream_t.
int64_t flat_update_partials_size(int64_t size);
void flat_update_cuda(int rule, const FlatUpdateArgs& args, double* partials, double* sums, void* stream);

}  // namespace millrace
