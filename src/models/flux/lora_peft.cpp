#include "models/flux/lora_peft.h"

#include <algorithm>

#include "adapters/peft_lokr.h"
#include "adapters/peft_writer.h"
#include "adapters/read_adapters.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "models/flux/lora_parts.h"

namespace millrace::flux {
namespace {

using Json = nlohmann::ordered_json;

// What a folder holds: layers of one kind, and r of each.
struct PeftLayers {
  AdaptersByLayer layers;
  std::map<std::string, int64_t> ranks;
  PeftLokr lokr;  // of LoKr

  AdapterKind kind() const { return layers.begin()->second.kind; }
  double alpha_of(const std::string& layer) const {
    return layers.at(layer).scale * static_cast<double>(ranks.at(layer));
  }
};

PeftLayers with_ranks_of_tensors(AdaptersByLayer layers) {
  PeftLayers found{std::move(layers), {}, {}};
  for (const auto& [name, layer] : found.layers) found.ranks[name] = sizes_of(layer).rank;
  return found;
}

PeftLayers apart_as_lora(const std::vector<AdapterTensors>& transformer, const FluxConfig& config,
                         const std::string& reason) {
  std::vector<std::string> whole;
  const auto layers = by_diffusers_layer(all_as_lora(transformer, reason), config, whole);
  MILLRACE_CHECK(layers);
  return with_ranks_of_tensors(*layers);
}

PeftLayers lokr_layers(const std::vector<AdapterTensors>& transformer, const FluxConfig& config) {
  std::vector<std::string> whole;
  auto layers = by_diffusers_layer(transformer, config, whole);
  if (!layers) {
    return apart_as_lora(transformer, config,
                         str("a Kronecker product of a fused layer, as of ", whole.front(),
                             ", is none of its parts, which diffusers has apart"));
  }
  const std::optional<PeftLokr> lokr = fit_peft_lokr(*layers);
  if (!lokr) {
    return apart_as_lora(transformer, config,
                         "PEFT divides all layers by one decompose_factor, and there is none for these");
  }
  return {std::move(*layers), lokr->ranks, *lokr};
}

PeftLayers peft_layers(const std::vector<AdapterTensors>& transformer, const FluxConfig& config) {
  const AdapterKind kind = transformer.front().kind;
  const bool has_one_kind = std::all_of(transformer.begin(), transformer.end(),
                                        [&](const AdapterTensors& adapter) { return adapter.kind == kind; });
  if (!has_one_kind) return apart_as_lora(transformer, config, "a folder of PEFT's has adapters of one kind");
  if (kind == AdapterKind::kLokr) return lokr_layers(transformer, config);
  std::vector<std::string> whole;
  return with_ranks_of_tensors(by_diffusers_layer(transformer, config, whole).value());
}

Json config_of_kind(const PeftLayers& peft, const std::string& first) {
  const AdapterKind kind = peft.kind();
  Json json = {{"peft_type", "LORA"},
               {"task_type", nullptr},
               {"base_model_name_or_path", nullptr},
               {"inference_mode", true},
               {"r", peft.ranks.at(first)}};
  if (kind == AdapterKind::kLora || kind == AdapterKind::kDora) {
    json.update({{"lora_alpha", peft.alpha_of(first)},
                 {"lora_dropout", 0.0},
                 {"bias", "none"},
                 {"fan_in_fan_out", false},
                 {"use_rslora", false},
                 {"use_dora", kind == AdapterKind::kDora}});
    return json;
  }
  json["peft_type"] = kind == AdapterKind::kLokr ? "LOKR" : "LOHA";
  json.update({{"alpha", peft.alpha_of(first)}, {"rank_dropout", 0.0}, {"module_dropout", 0.0}});
  if (kind == AdapterKind::kLokr) {
    json.update({{"decompose_both", peft.lokr.decompose_both}, {"decompose_factor", peft.lokr.decompose_factor}});
  }
  return json;
}

Json peft_config_of(const PeftLayers& peft) {
  const std::string first = peft.layers.begin()->first;
  Json json = config_of_kind(peft, first), ranks = Json::object(), alphas = ranks;
  std::vector<std::string> names;
  for (const auto& [name, layer] : peft.layers) {
    names.push_back(name);
    // A pattern would also fit the end of longer names: "proj_out" of all single blocks.
    const std::string pattern = "^" + name + "$";
    if (peft.ranks.at(name) != peft.ranks.at(first)) ranks[pattern] = peft.ranks.at(name);
    if (peft.alpha_of(name) != peft.alpha_of(first)) alphas[pattern] = peft.alpha_of(name);
  }
  json.update({{"rank_pattern", ranks}, {"alpha_pattern", alphas}, {"target_modules", "^(" + join(names, "|") + ")$"}});
  return json;
}

}  // namespace

PeftFolder peft_folder(const LoraParts& parts, const FluxConfig& config) {
  if (!parts.text_encoders.empty()) {
    log_warning("leaves out ", parts.text_encoders.size(),
                " adapters of text encoders: PEFT has a folder for each model");
  }
  if (parts.transformer.empty()) throw ModelError("[--naming peft] expected adapters of the transformer, got none");
  const PeftLayers peft = peft_layers(parts.transformer, config);
  PeftFolder folder{{}, peft_config_of(peft)};
  for (const auto& [name, layer] : peft.layers) {
    for (const auto& [role, tensor] : layer.tensors) {
      folder.tensors[peft_name(name + "." + role, layer.kind)] =
          role == "magnitude" ? tensor.values.reshape({-1}) : tensor.values;
    }
  }
  return folder;
}

}  // namespace millrace::flux
