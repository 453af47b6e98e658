// What a decoder's tensors are called: ours are Hugging Face's names ("model.layers.0.self_attn.q_proj.weight").
#pragma once

#include "models/llama/config.h"
#include "models/weights.h"

namespace millrace::llama {

WeightRules weight_rules(const LlamaConfig& config);

// Buffers of rotary frequencies that old files have, and the output layer of a tied model, which some files repeat.
const IgnorableNames& ignorable_names();

}  // namespace millrace::llama
