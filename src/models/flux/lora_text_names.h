// The layers of FLUX's text encoders in the words of LoRA files. No torch.
#pragma once

#include <optional>
#include <string>

#include "models/flux/lora_layout.h"

namespace millrace::flux {

struct TextEncoderLayer {
  LoraPart part = LoraPart::kClip;
  std::string module;  // in Hugging Face's naming: "text_model.encoder.layers.0.self_attn.q_proj"
};

// From kohya's name (lora_te1_*, lora_te3_*, and lora_te2_* for T5) or diffusers' (text_encoder.*, text_encoder_2.*);
// nothing for other names.
std::optional<TextEncoderLayer> parse_text_encoder_layer(const std::string& name);

// What diffusers puts before ".down.weight" and ".up.weight", of CLIP's layers.
std::string diffusers_lora_name(const TextEncoderLayer& layer);

}  // namespace millrace::flux
