// LoRA files of FLUX in the conventions of kohya and diffusers; PEFT's is lora_peft.h.
//
// kohya's has fused layers as the model has them, and an alpha for each. The others have q, k, v (and linear1's MLP)
// apart (lora_parts.h).
#pragma once

#include <string>

#include "adapters/adapter_file.h"
#include "models/flux/lora_names.h"
#include "nn/tensor_io.h"

namespace millrace::flux {

enum class LoraNaming { kKohya, kPeft, kDiffusers };
LoraNaming parse_lora_naming(const std::string& text);  // throws ConfigError

// The sizes that a file's adapters say: blocks, hidden size, MLP. in_file: adapters/read_adapters.h.
FluxConfig config_from_adapters(const std::vector<AdapterTensors>& in_file);

// "lora_unet_*.lora_down.weight", "lora_te1_*"; of other kinds as LyCORIS names them: ".dora_scale", ".hada_w1_a",
// ".lokr_w1".
TensorMap kohya_tensors(const LoraParts& parts, const FluxConfig& config);

// "transformer.*.lora_A.weight", and CLIP's as diffusers names them. alpha / rank is in the matrices: that file has no
// place for it. T5's are left out with a note, since diffusers takes none; LoHa and LoKr, of which it loads none into
// FLUX, become LoRA that computes the same. Throws ModelError, naming layers, where that would be no smaller than the
// layer, for DoRA beside other kinds and for DoRA of CLIP.
TensorMap diffusers_tensors(const LoraParts& parts, const FluxConfig& config);

}  // namespace millrace::flux
