// FLUX's adapters as PEFT reads them: a folder with adapter_model.safetensors and adapter_config.json, of diffusers'
// transformer.
#pragma once

#include <nlohmann/json.hpp>

#include "models/flux/lora_names.h"
#include "nn/tensor_io.h"

namespace millrace::flux {

struct PeftFolder {
  TensorMap tensors;  // "base_model.model.*.lora_A.weight", ".lora_magnitude_vector", ".hada_w1_a", ".lokr_w1"
  nlohmann::ordered_json config;
};

// Of the transformer alone; a note counts the adapters of text encoders. The kind stays where all layers have one and
// PEFT can hold it: LoKr whose parts of fused layers, or whose sizes, PEFT does not make becomes LoRA that computes the
// same, with a note, and so does LoHa or LoKr beside other kinds. Throws ModelError, naming layers, where that would be
// no smaller than the layer, and for DoRA beside other kinds.
PeftFolder peft_folder(const LoraParts& parts, const FluxConfig& config);

}  // namespace millrace::flux
