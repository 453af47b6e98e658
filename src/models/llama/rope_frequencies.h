// Rotary frequencies of a decoder and the tables that they give for positions.
#pragma once

#include <torch/types.h>

#include "models/llama/config.h"

namespace millrace::llama {

// fp32 [head_dim / 2], on a CPU: theta^(-2i / head_dim), stretched as the config says. "llama3" (Llama 3.1):
// wavelengths above original / low_freq_factor are divided by factor, those below original / high_freq_factor stay,
// those between blend. In fp32 step by step as transformers does: at position 65,536 one unit in the last place turns a
// pair by 1e-3.
torch::Tensor rope_frequencies(const RopeConfig& rope, int64_t head_dim);

struct RotaryTables {
  torch::Tensor cos_TP, sin_TP;  // fp32
};
// positions_T: int64, on the device that the tables are for.
RotaryTables rotary_tables(const torch::Tensor& positions_T, const torch::Tensor& frequencies_P);

}  // namespace millrace::llama
