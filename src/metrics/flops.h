// Floating-point operations of a training step, and what machines can do.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace millrace {

struct FluxShape {
  int64_t hidden_size = 0;
  int64_t depth = 0;
  int64_t depth_single_blocks = 0;
  double mlp_ratio = 4;
  int64_t image_tokens = 0;
  int64_t text_tokens = 0;
};

// Model FLOPs of one sample, forward and backward (three times forward): 2 per multiply-add in the blocks' linear
// layers and in attention (not causal). Recomputation, encoders, embedders and the modulations (one row per sample) are
// not counted. FLUX.1 at 256 + 256 tokens: 20.4e12, as NVIDIA's MLPerf submission counts (20.3e12).
double flux_train_flops_per_sample(const FluxShape& shape);

// Peak dense bf16 FLOP/s of a GPU by its name as CUDA gives it (table: metrics/hardware.h); nothing when unknown:
// better no MFU than a wrong one.
std::optional<double> peak_flops(std::string_view device_name);

}  // namespace millrace
