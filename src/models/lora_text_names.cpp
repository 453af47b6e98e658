#include "models/lora_text_names.h"

#include <regex>
#include <string_view>
#include <utility>

#include "base/text.h"

namespace millrace::flux {
namespace {

std::optional<TextEncoderLayer> from_kohya(const std::string& name) {
  static const std::regex clip("lora_te1?_(text_model)_(encoder)_(layers)_(\\d+)_(self_attn|mlp)_(.+)");
  static const std::regex t5("lora_te[23]_(encoder)_(block)_(\\d+)_(layer)_(\\d+)_(SelfAttention|DenseReluDense)_(.+)");
  std::smatch found;
  const bool is_clip = std::regex_match(name, found, clip);
  if (!is_clip && !std::regex_match(name, found, t5)) return std::nullopt;
  std::vector<std::string> words(std::next(found.begin()), found.end());
  return TextEncoderLayer{is_clip ? LoraPart::kClip : LoraPart::kT5, join(words, ".")};
}

}  // namespace

std::optional<TextEncoderLayer> parse_text_encoder_layer(const std::string& name) {
  if (const auto layer = from_kohya(name)) return layer;
  if (starts_with(name, "text_encoder_2.")) return TextEncoderLayer{LoraPart::kT5, name.substr(15)};
  if (!starts_with(name, "text_encoder.")) return std::nullopt;
  // "to_q" of older diffusers is q_proj.
  static const std::regex attention("\\.to_(q|k|v|out)$");
  return TextEncoderLayer{LoraPart::kClip, std::regex_replace(name.substr(13), attention, ".$1_proj")};
}

std::optional<TextEncoderLayer> parse_run_text_layer(const std::string& name) {
  for (const auto& [part, prefix] : {std::pair{LoraPart::kClip, kClipAdapters}, {LoraPart::kT5, kT5Adapters}}) {
    if (starts_with(name, prefix)) return TextEncoderLayer{part, name.substr(std::string_view(prefix).size())};
  }
  return std::nullopt;
}

std::string run_name(const TextEncoderLayer& layer) {
  return (layer.part == LoraPart::kClip ? kClipAdapters : kT5Adapters) + layer.module;
}

std::string diffusers_module(const TextEncoderLayer& layer) {
  return (layer.part == LoraPart::kClip ? "text_encoder." : "text_encoder_2.") + layer.module;
}

std::string diffusers_lora_name(const TextEncoderLayer& layer) {
  static const std::regex attention("\\.(q|k|v|out)_proj$");
  const std::string name = "text_encoder." + layer.module;
  return std::regex_search(name, attention) ? std::regex_replace(name, attention, ".to_$1_lora")
                                            : name + ".lora_linear_layer";
}

}  // namespace millrace::flux
