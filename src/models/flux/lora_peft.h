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

// The transformer's adapters only; a warning says how many adapters of text encoders are left out. The kind stays if
// all layers share it and PEFT can hold it. Otherwise LoHa and LoKr become LoRA that computes the same, with a warning:
// LoKr of fused layers that cannot be split, LoKr of sizes that PEFT does not make, and mixtures of kinds. Throws
// ModelError, which names the layers, if a LoRA would be no smaller than the weight, or if DoRA is mixed with other
// kinds.
PeftFolder peft_folder(const LoraParts& parts, const FluxConfig& config);

}  // namespace millrace::flux
