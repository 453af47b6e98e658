#include "models/flux/lora_export.h"

#include <algorithm>

#include "adapters/adapter_roles.h"
#include "adapters/read_adapters.h"
#include "adapters/tensor_names.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "models/flux/lora_layout.h"
#include "models/flux/lora_parts.h"
#include "models/lora_text_names.h"

namespace millrace::flux {
namespace {

// The scale goes into the down projection, and by powers of two into the up projection, so that the two stay of a size.
AdapterTensors without_scale(AdapterTensors adapter) {
  double down = adapter.scale, up = 1;
  while (down > 0 && down * 2 < up) down *= 2, up /= 2;
  torch::Tensor &down_RK = adapter.tensors.at("down").values, &up_NR = adapter.tensors.at("up").values;
  down_RK = times(down_RK, down);
  up_NR = times(up_NR, up);
  adapter.scale = 1;
  return adapter;
}

// Kronecker products of whole matrices have no rank that an alpha could be divided by: their scale is one, and another
// is in the first matrix. LyCORIS reads an alpha of every module all the same.
void add_kohya(TensorMap& tensors, const std::string& name, const AdapterTensors& adapter) {
  for (const auto& [role, tensor] : adapter.tensors) {
    const torch::Tensor values = in_model_order(tensor);
    tensors[name + kohya_ending(adapter.kind, role)] = role == "magnitude" ? values.reshape({-1, 1}) : values;
  }
  const int64_t rank = sizes_of(adapter).rank;
  if (rank == 0) {
    torch::Tensor& first = tensors.at(name + kohya_ending(adapter.kind, "w1"));
    first = times(first, adapter.scale);
  }
  const double alpha = rank > 0 ? adapter.scale * static_cast<double>(rank) : 1;
  tensors[name + ".alpha"] = torch::tensor(alpha, torch::kFloat32);
}

TextEncoderLayer text_layer(const AdapterTensors& adapter) {
  const auto layer = parse_text_encoder_layer(adapter.module);
  if (layer) return *layer;
  throw ModelError("[" + adapter.tensors.begin()->second.name + "] expected a layer of CLIP or T5, got " +
                   adapter.module);
}

constexpr const char* kDiffusersOfClip = "diffusers takes only LoRA of CLIP";

// DoRA as it is; LoHa and LoKr, of which FluxPipeline loads none, as LoRA.
AdaptersByLayer diffusers_layers(const std::vector<AdapterTensors>& transformer, const FluxConfig& config) {
  const auto is_dora = [](const AdapterTensors& adapter) { return adapter.kind == AdapterKind::kDora; };
  const bool has_dora_alone = std::all_of(transformer.begin(), transformer.end(), is_dora);
  std::vector<std::string> whole;
  const auto layers = by_diffusers_layer(
      has_dora_alone ? transformer : all_as_lora(transformer, "diffusers loads LoRA into FLUX, or DoRA of all layers"),
      config, whole);
  MILLRACE_CHECK(layers);
  return *layers;
}

std::string diffusers_ending(const std::string& role) {
  if (role == "magnitude") return "lora_magnitude_vector";
  return role == "down" ? "lora_A.weight" : "lora_B.weight";
}

}  // namespace

LoraNaming parse_lora_naming(const std::string& text) {
  if (text == "kohya") return LoraNaming::kKohya;
  if (text == "peft") return LoraNaming::kPeft;
  if (text == "diffusers") return LoraNaming::kDiffusers;
  throw ConfigError("[--naming] expected kohya, peft or diffusers for a LoRA, got " + text);
}

TensorMap kohya_tensors(const LoraParts& parts, const FluxConfig& config) {
  TensorMap tensors;
  for (const AdapterTensors& adapter : whole_adapters(parts.transformer, config)) {
    add_kohya(tensors, kohya_name(LoraPart::kTransformer, adapter.module), adapter);
  }
  for (const AdapterTensors& adapter : parts.text_encoders) {
    const TextEncoderLayer layer = text_layer(adapter);
    add_kohya(tensors, kohya_name(layer.part, layer.module), adapter);
  }
  return tensors;
}

TensorMap diffusers_tensors(const LoraParts& parts, const FluxConfig& config) {
  TensorMap tensors;
  for (const auto& [theirs, scaled] : diffusers_layers(parts.transformer, config)) {
    const std::string layer = "transformer." + theirs + ".";
    const AdapterTensors adapter = without_scale(scaled);
    for (const auto& [role, tensor] : adapter.tensors) {
      tensors[layer + diffusers_ending(role)] = role == "magnitude" ? tensor.values.reshape({-1}) : tensor.values;
    }
  }
  std::vector<AdapterTensors> of_clip;
  size_t of_t5 = 0;
  for (const AdapterTensors& adapter : parts.text_encoders) {
    if (text_layer(adapter).part == LoraPart::kT5) {
      ++of_t5;
    } else {
      of_clip.push_back(adapter);
    }
  }
  for (const AdapterTensors& scaled : all_as_lora(of_clip, kDiffusersOfClip)) {
    const AdapterTensors adapter = without_scale(scaled);
    const std::string layer = diffusers_lora_name(text_layer(adapter));
    tensors[layer + ".down.weight"] = adapter.tensors.at("down").values;
    tensors[layer + ".up.weight"] = adapter.tensors.at("up").values;
  }
  if (of_t5) log_warning("leaves out ", of_t5, " adapters of T5: diffusers takes none");
  return tensors;
}

}  // namespace millrace::flux
