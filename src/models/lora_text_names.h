// The layers of FLUX's text encoders in the words of LoRA files. No torch.
#pragma once

#include <optional>
#include <string>

namespace millrace::flux {

enum class LoraPart { kClip, kT5, kTransformer };

// In front of the names of a run's adapters of text encoders, beside the transformer's.
inline constexpr const char* kClipAdapters = "clip_l.";
inline constexpr const char* kT5Adapters = "t5xxl.";

struct TextEncoderLayer {
  LoraPart part = LoraPart::kClip;
  std::string module;  // in Hugging Face's naming: "text_model.encoder.layers.0.self_attn.q_proj"
};

// From kohya's name (lora_te1_*, lora_te3_*, and lora_te2_* for T5) or diffusers' (text_encoder.*, text_encoder_2.*);
// nothing for other names.
std::optional<TextEncoderLayer> parse_text_encoder_layer(const std::string& name);

// The layer that a run names "clip_l.text_model.encoder.layers.0.mlp.fc1"; nullopt for one of the transformer.
std::optional<TextEncoderLayer> parse_run_text_layer(const std::string& name);
// Its inverse, and the same in diffusers' words, which parse_text_encoder_layer() reads.
std::string run_name(const TextEncoderLayer& layer);
std::string diffusers_module(const TextEncoderLayer& layer);

// What diffusers puts before ".down.weight" and ".up.weight", of CLIP's layers.
std::string diffusers_lora_name(const TextEncoderLayer& layer);

}  // namespace millrace::flux
