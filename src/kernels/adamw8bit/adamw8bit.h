// AdamW whose moments are 8-bit codes with one scale per block of 256 elements (Dettmers et al. 2022, "8-bit Optimizers
// via Block-wise Quantization"), as bitsandbytes has it. Moments are decoded, updated in fp32, used, and coded again:
//   m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + (1 - beta2) * g^2;  p *= 1 - lr * weight_decay
//   p -= lr / (1 - beta1^step) * m / (sqrt(v) / sqrt(1 - beta2^step) + eps)
//   scale = largest |m| of the block;  code = the one whose value is nearest to m / scale; v likewise
//
// What is rounded to bf16 stochastically takes random bits by (seed, step, stream, element of the parameter), whatever
// the threads, devices and shards (kernels/rounding_stream.h).
//
// Tensors are 1-D and contiguous. Blocks are counted from the parameter's first element, wherever the buffers begin.
#pragma once

#include <torch/types.h>

#include <cstdint>

namespace millrace {

constexpr int64_t kQuantizedBlock = 256;  // elements
// How many blocks elements [first, first + size) of a parameter touch.
int64_t quantized_blocks(int64_t first, int64_t size);

// The values of the 256 codes, ascending: decades from 1e-6 to 1, divided ever finer. Signed for m, positive for v.
torch::Tensor code_values(bool is_signed);  // fp32, on the CPU
// The code whose value is 0.
uint8_t zero_code(bool is_signed);

// The tables to decode and code with on a device: fp32.
struct CodeTables {
  explicit CodeTables(torch::Device device);
  torch::Tensor m_values, v_values;    // [256]
  torch::Tensor m_middles, v_middles;  // [255]: halfway between neighbours
};

struct AdamW8bitOptions {
  double lr = 1e-4;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.01;
  int64_t step = 1;  // of this update, counted from 1
  // Round bf16 weights stochastically; otherwise to nearest, which loses small updates.
  bool stochastic_rounding = true;
  uint64_t seed = 0;
};

// A run of one parameter: N elements, beginning with its element `first_element`.
struct AdamW8bitBuffers {
  torch::Tensor param;               // fp32 or bf16 [N]
  torch::Tensor grad;                // fp32 or bf16 [N]; gets zeros
  torch::Tensor model_copy;          // bf16 [N], or undefined: gets the new param, rounded to nearest
  torch::Tensor m_codes, v_codes;    // uint8 [N]
  torch::Tensor m_scales, v_scales;  // fp32 [quantized_blocks(first_element, N)]
  const CodeTables* tables = nullptr;
  int64_t first_element = 0;
  uint64_t stream = 0;  // separates the parameter's random numbers from others'; below 2^62
};

// One update. clip_coefficient: fp32, one element, on the buffers' device; undefined means 1.
void adamw8bit_step(const AdamW8bitBuffers& buffers, const AdamW8bitOptions& options,
                    const torch::Tensor& clip_coefficient = {});

// The same in two passes, for blocks shared by several runs or ranks: the first raises new_m_scales and new_v_scales
// (fp32, one per block) to the values that the update needs, the second codes with them. The caller then copies them
// into the scales.
void adamw8bit_gather_scales(const AdamW8bitBuffers& buffers, const AdamW8bitOptions& options,
                             const torch::Tensor& clip_coefficient, const torch::Tensor& new_m_scales,
                             const torch::Tensor& new_v_scales);
void adamw8bit_step_with_scales(const AdamW8bitBuffers& buffers, const AdamW8bitOptions& options,
                                const torch::Tensor& clip_coefficient, const torch::Tensor& new_m_scales,
                                const torch::Tensor& new_v_scales);

// Composed of ATen's operations; bf16 weights are rounded to nearest (stochastic_rounding must be off for them).
void adamw8bit_step_reference(const AdamW8bitBuffers& buffers, const AdamW8bitOptions& options,
                              const torch::Tensor& clip_coefficient = {});

}  // namespace millrace
