// LoRA files that are added to the frozen weights before training: lora.base_weights.
#pragma once

#include <string>

#include "adapters/lora_options.h"
#include "adapters/merge_adapter.h"
#include "models/flux/config.h"

namespace millrace {

struct BaseAdapters {
  AdapterMerger transformer, clip, t5;  // by the model that the adapters are of
  std::string identity;                 // of the files' contents and how much of each is added; "": there are none
};

// sizes: of the transformer. Throws ModelError for files that are not for FLUX, ConfigError for multipliers.
BaseAdapters read_base_adapters(const LoraConfig& lora, const flux::FluxConfig& sizes);

// Their `identity`, without reading what they would add.
std::string base_weights_identity(const LoraConfig& lora);

}  // namespace millrace
