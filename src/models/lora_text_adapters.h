// The adapters of a text encoder in a LoRA file of FLUX or in one of its own.
#pragma once

#include <string>
#include <vector>

#include "adapters/adapter_file.h"
#include "models/lora_text_names.h"

namespace millrace::flux {

// Those of CLIP or of T5, their modules in Hugging Face's naming ("text_model.encoder.layers.0.self_attn.q_proj").
// Names may be kohya's (lora_te1_*, lora_te3_*), diffusers' (text_encoder.*), PEFT's (base_model.model.*) or the
// model's own. A note in the log counts the adapters of FLUX's other models, which are left out. Throws ModelError
// where nothing remains. in_file: adapters/read_adapters.h.
std::vector<AdapterTensors> text_encoder_adapters(std::vector<AdapterTensors> in_file, LoraPart part,
                                                  const std::string& place);

}  // namespace millrace::flux
