// AdamW on raw memory: the CPU levels' table and the CUDA entry point. See adamw.h for the formulas.
#pragma once

#include "kernels/raw.h"
#include "kernels/rounding_stream.h"

namespace millrace {

struct AdamWArgs {
  int64_t size;
  ElementType param_type, grad_type, moment_type;
  void *param, *grad, *exp_avg, *exp_avg_sq;
  void* model_copy;  // bf16, or null
  float* ema;        // or null
  uint64_t first_element;

  const float* clip_coefficient;  // one element on the device of the buffers, or null
  float decay;                    // 1 - lr * weight_decay
  float one_minus_beta1, beta2, one_minus_beta2;
  float bias_correction2_sqrt;  // sqrt(1 - beta2^step)
  float step_size;              // lr / (1 - beta1^step)
  float eps;
  float one_minus_ema_decay;
  bool zero_grad;
  bool stochastic;  // rounding of whichever of param, exp_avg and exp_avg_sq are bf16
  RandomStream param_stream, exp_avg_stream, exp_avg_sq_stream;
};

struct AdamWKernels {
  // Elements [begin, end). Indexed by the types of param, grad and moments.
  void (*update[2][2][2])(const AdamWArgs& args, int64_t begin, int64_t end);
};
extern const AdamWKernels adamw_kernels_v2, adamw_kernels_v3, adamw_kernels_v4;

// stream: a cudaStream_t.
void adamw_cuda(const AdamWArgs& args, void* stream);

}  // namespace millrace
