#include "models/lora_text_adapters.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "models/lora_text_names.h"

namespace millrace::flux {
namespace {

bool is_of_transformer(const std::string& module) {
  constexpr std::array kPrefixes = {"lora_unet_", "lora_transformer_", "lycoris_", "transformer.", "diffusion_model."};
  return std::any_of(kPrefixes.begin(), kPrefixes.end(),
                     [&](const char* prefix) { return starts_with(module, prefix); });
}

// A name without a model in front, as PEFT has it.
std::string own_name(std::string module, LoraPart part) {
  constexpr std::string_view kWrapper = "base_model.model.";
  if (starts_with(module, kWrapper)) module = module.substr(kWrapper.size());
  // Recent versions of transformers have a CLIPTextModel without the outer module.
  return part == LoraPart::kClip && starts_with(module, "encoder.") ? "text_model." + module : module;
}

}  // namespace

std::vector<AdapterTensors> text_encoder_adapters(std::vector<AdapterTensors> in_file, LoraPart part,
                                                  const std::string& place) {
  const char* const model = part == LoraPart::kClip ? "CLIP" : "T5";
  std::vector<AdapterTensors> own;
  size_t left_out = 0;
  for (AdapterTensors& adapter : in_file) {
    const std::optional<TextEncoderLayer> layer = parse_text_encoder_layer(adapter.module);
    if (layer ? layer->part != part : is_of_transformer(adapter.module)) {
      ++left_out;
      continue;
    }
    adapter.module = layer ? own_name(layer->module, part) : own_name(adapter.module, part);
    own.push_back(std::move(adapter));
  }
  if (own.empty()) throw ModelError(str("[", place, "] expected adapters of ", model, ", got none"));
  if (left_out > 0) log_info(place, ": leaves out ", left_out, " adapters of other models than ", model);
  return own;
}

}  // namespace millrace::flux
