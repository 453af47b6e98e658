// Floating-point operations of FLUX.
#pragma once

#include <cstdint>

#include "models/flux/config.h"

namespace millrace::flux {

// Model FLOPs of one sample, forward and backward (three times forward): 2 per multiply-add in the blocks' linear
// layers and in attention (not causal). Recomputation, encoders, embedders and the modulations (one row per sample) are
// not counted. FLUX.1 at 256 + 256 tokens: 20.4e12, as NVIDIA's MLPerf submission counts (20.3e12). frozen: without the
// gradients of the layers' weights; those of adapters are small beside the rest and not counted either.
double train_flops_per_sample(const FluxConfig& sizes, int64_t image_tokens, int64_t text_tokens, bool frozen = false);

}  // namespace millrace::flux
