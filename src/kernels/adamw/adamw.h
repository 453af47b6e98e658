// AdamW (Loshchilov and Hutter 2019) over flat buffers in one pass, in torch.optim.AdamW's order of operations:
//   g = clip * grad;  p *= 1 - lr * weight_decay;  m += (1 - beta1) * (g - m);  v = beta2 * v + (1 - beta2) * g^2
//   p -= lr / (1 - beta1^step) * m / (sqrt(v) / sqrt(1 - beta2^step) + eps)
//
// All tensors are 1-D, contiguous, of one length N. Arithmetic is fp32. What is rounded to bf16 stochastically uses
// 16 random bits per element from Philox keyed by (seed, step, stream, element), independent of threads, devices and
// shards.
#pragma once

#include <torch/types.h>

namespace millrace {

struct AdamWOptions {
  double lr = 1e-4;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  int64_t step = 1;  // of this update, counted from 1
  // Round bf16 parameters and bf16 moments stochastically; otherwise to nearest, which loses small updates.
  bool stochastic_rounding = true;
  uint64_t seed = 0;
  double ema_decay = 0;    // with ema: ema = decay * ema + (1 - decay) * p
  bool zero_grad = false;  // leave zeros in grad
};

struct AdamWBuffers {
  torch::Tensor param;                // fp32 or bf16
  torch::Tensor grad;                 // fp32 or bf16
  torch::Tensor exp_avg, exp_avg_sq;  // both fp32 or both bf16
  torch::Tensor model_copy;           // bf16, or undefined: gets the new param, rounded to nearest
  torch::Tensor ema;                  // fp32, or undefined
  uint64_t stream = 0;                // separates this buffer's random numbers from other buffers'; below 2^62
  uint64_t first_element = 0;         // index of element 0 in the whole buffer, when these are shards of it
};

// clip_coefficient: fp32, one element, on the buffers' device; undefined means 1.
void adamw_step(const AdamWBuffers& buffers, const AdamWOptions& options, const torch::Tensor& clip_coefficient = {});

// Composed of ATen's operations; fp32 buffers, or bf16 rounded to nearest (stochastic_rounding must be off for bf16).
void adamw_step_reference(const AdamWBuffers& buffers, const AdamWOptions& options,
                          const torch::Tensor& clip_coefficient = {});

}  // namespace millrace
