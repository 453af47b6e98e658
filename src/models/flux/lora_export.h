// LoRA files of FLUX between the conventions of kohya, PEFT and diffusers.
//
// kohya's has fused layers as the model has them, and an alpha for each. The others have q, k, v (and linear1's MLP)
// apart: pairs of a fused layer whose up projection is block-diagonal are taken apart, otherwise each part gets a copy
// of the down projection. In the other direction equal down projections become one again, and different ones a
// block-diagonal pair. What the layers compute stays the same.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "adapters/adapter_file.h"
#include "models/flux/lora_names.h"
#include "nn/tensor_io.h"

namespace millrace::flux {

enum class LoraNaming { kKohya, kPeft, kDiffusers };
LoraNaming parse_lora_naming(const std::string& text);  // throws ConfigError

// The sizes that a file's adapters say: blocks, hidden size, MLP. in_file: adapters/read_adapters.h.
FluxConfig config_from_adapters(const std::vector<AdapterTensors>& in_file);

// One adapter of all outputs for each layer, of those that LoraParts::transformer has. Throws ModelError where parts of
// a layer are not LoRA.
std::vector<AdapterTensors> whole_adapters(const std::vector<AdapterTensors>& transformer, const FluxConfig& config);

// "lora_unet_*.lora_down.weight", "lora_te1_*"; of other kinds as LyCORIS names them: ".dora_scale", ".hada_w1_a",
// ".lokr_w1".
TensorMap kohya_tensors(const LoraParts& parts, const FluxConfig& config);

// "transformer.*.lora_A.weight", and CLIP's as diffusers names them. alpha / rank is in the matrices: that file has no
// place for it. T5's are left out with a note, since diffusers takes none.
TensorMap diffusers_tensors(const LoraParts& parts, const FluxConfig& config);

// "base_model.model.*.lora_A.weight" of the transformer alone, and its adapter_config.json, which has the alphas.
TensorMap peft_tensors(const LoraParts& parts, const FluxConfig& config);
nlohmann::ordered_json peft_config(const LoraParts& parts, const FluxConfig& config);

}  // namespace millrace::flux
