// 8-bit AdamW on raw memory: the CPU levels' table and the CUDA entry point. See adamw8bit.h.
#pragma once

#include "base/philox.h"
#include "kernels/raw.h"

namespace millrace {

constexpr int kCodes = 256;

enum class QuantizedPass : int { kWhole = 0, kGatherScales = 1, kWithScales = 2 };

struct AdamW8bitArgs {
  int64_t size;
  int64_t first_element;  // in the parameter
  ElementType param_type, grad_type;
  void* param;
  void* grad;
  void* model_copy;  // bf16, or null
  uint8_t *m_codes, *v_codes;
  float *m_scales, *v_scales;
  float *new_m_scales, *new_v_scales;  // kGatherScales: raised; kWithScales: read; otherwise null

  // On the device of the buffers: the codes' values, and the 255 midpoints between neighbours.
  const float *m_values, *v_values, *m_middles, *v_middles;
  const float* clip_coefficient;  // one element, or null
  float decay;                    // 1 - lr * weight_decay
  float beta1, one_minus_beta1, beta2, one_minus_beta2;
  float step_size;  // lr * sqrt(1 - beta2^step) / (1 - beta1^step)
  float eps;        // times sqrt(1 - beta2^step)
  bool stochastic;  // of bf16 weights
  RandomStream param_stream;
};

struct AdamW8bitKernels {
  // Blocks [begin, end) of the run. Indexed by pass and by the types of param and grad.
  void (*update[3][2][2])(const AdamW8bitArgs& args, int64_t begin, int64_t end);
};
extern const AdamW8bitKernels adamw8bit_kernels_v2, adamw8bit_kernels_v3, adamw8bit_kernels_v4;

// stream: a cudaStream_t.
void adamw8bit_cuda(QuantizedPass pass, const AdamW8bitArgs& args, int64_t blocks, void* stream);

}  // namespace millrace
