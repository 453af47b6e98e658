// Tensors full of counter-based random numbers, one stream per sample: bit for bit those of base/philox.h, on every
// device and CPU level (bf16: rounded to nearest even from fp32).
#pragma once

#include <vector>

#include <torch/types.h>

#include "base/philox.h"

namespace millrace {

// out_B: [B, ...] fp32 or bf16, each sample contiguous; streams: B of them. Element i of sample b becomes number
// first_index + i of streams[b]; a stream has 2^34 numbers.
void philox_fill_normal(const torch::Tensor& out_B, const std::vector<RandomStream>& streams, uint64_t first_index = 0);
// [0, 1) in steps of 2^-24 (fp32).
void philox_fill_uniform(const torch::Tensor& out_B, const std::vector<RandomStream>& streams,
                         uint64_t first_index = 0);

// One scalar call of base/philox.h per element.
void philox_fill_normal_reference(const torch::Tensor& out_B, const std::vector<RandomStream>& streams,
                                  uint64_t first_index = 0);
void philox_fill_uniform_reference(const torch::Tensor& out_B, const std::vector<RandomStream>& streams,
                                   uint64_t first_index = 0);

}  // namespace millrace
