#include "models/flux/lora_names.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "models/flux/lora_layout.h"
#include "models/flux/weight_names.h"

namespace millrace::flux {
namespace {

constexpr size_t kUnknownShown = 5;

struct Place {
  std::string module;
  int64_t row_begin = 0, row_end = -1;
  bool swaps_halves = false;
};

std::string without_weight(const std::string& name) {
  constexpr std::string_view kWeight = ".weight";
  return ends_with(name, kWeight) ? name.substr(0, name.size() - kWeight.size()) : "";
}

std::string underscored(std::string name) {
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

// Every name of every layer, without a prefix: dotted in both namings, and ours with underscores.
std::map<std::string, Place> places_by_name(const FluxConfig& config) {
  std::map<std::string, Place> places;
  for (const LinearLayer& layer : linear_layers(config)) {
    places[layer.module] = {layer.module};
    places[kohya_name(LoraPart::kTransformer, layer.module)] = {layer.module};
  }
  for (const WeightRule& rule : weight_rules(config, Naming::kDiffusers)) {
    const std::string ours = without_weight(rule.ours), theirs = without_weight(rule.theirs);
    if (ours.empty() || !places.count(ours)) continue;  // of a norm, or a bias
    const Place place{ours, rule.row_begin, rule.row_end, rule.swap_halves};
    places[theirs] = place;
    for (const char* prefix : {"lora_transformer_", "lycoris_"}) places[prefix + underscored(theirs)] = place;
  }
  return places;
}

const Place* find_place(const std::map<std::string, Place>& places, std::string name) {
  // Programs put these in front, one after the other.
  for (const char* prefix : {"base_model.model.", "transformer.", "diffusion_model.", "model.diffusion_model."}) {
    if (starts_with(name, prefix)) name = name.substr(std::string_view(prefix).size());
  }
  const auto found = places.find(name);
  return found == places.end() ? nullptr : &found->second;
}

AdapterTensors placed(AdapterTensors adapter, const Place& place, const std::string& file) {
  if (adapter.row_end < 0) {  // split_qkv's are already a part of ours
    adapter.row_begin = place.row_begin;
    adapter.row_end = place.row_end;
  }
  adapter.module = place.module;
  if (!place.swaps_halves) return adapter;
  if (adapter.kind == AdapterKind::kLokr) {
    throw ModelError("[" + file + ": " + adapter.tensors.begin()->second.name +
                     "] expected no Kronecker product where the two programs order the rows differently");
  }
  for (const char* role : {"up", "magnitude", "w1_a", "w2_a"}) {
    const auto found = adapter.tensors.find(role);
    if (found != adapter.tensors.end()) found->second.swaps_halves = true;
  }
  return adapter;
}

bool is_of_text_encoder(const std::string& module) {
  constexpr std::array kPrefixes = {"lora_te_",      "lora_te1_",       "lora_te2_",     "lora_te3_",
                                    "text_encoder.", "text_encoder_2.", "text_encoders."};
  return std::any_of(kPrefixes.begin(), kPrefixes.end(),
                     [&](const char* prefix) { return starts_with(module, prefix); });
}

}  // namespace

LoraParts sort_adapters(std::vector<AdapterTensors> in_file, const FluxConfig& config, const std::string& place) {
  const std::map<std::string, Place> places = places_by_name(config);
  LoraParts parts;
  std::vector<std::string> unknown;
  for (AdapterTensors& adapter : in_file) {
    const Place* found = find_place(places, adapter.module);
    if (!found && is_of_text_encoder(adapter.module)) {
      parts.text_encoders.push_back(std::move(adapter));
    } else if (!found) {
      unknown.push_back(adapter.tensors.begin()->second.name);
    } else {
      parts.transformer.push_back(placed(std::move(adapter), *found, place));
    }
  }
  if (unknown.empty()) return parts;
  const size_t count = unknown.size();
  unknown.resize(std::min(count, kUnknownShown));
  throw ModelError(str("[", place, "] expected adapters of FLUX with ", config.depth, " double and ",
                       config.depth_single_blocks, " single blocks, got ", count,
                       " of modules that it does not have: ", join(unknown, ", "), count > kUnknownShown ? ", ..." : "",
                       " (try the weights that the file was trained on)"));
}

std::vector<AdapterTensors> transformer_adapters(std::vector<AdapterTensors> in_file, const FluxConfig& config,
                                                 const std::string& place) {
  LoraParts parts = sort_adapters(std::move(in_file), config, place);
  if (!parts.text_encoders.empty()) {
    log_info(place, ": leaves out ", parts.text_encoders.size(), " adapters of text encoders, ",
             parts.text_encoders.front().module, " to ", parts.text_encoders.back().module);
  }
  if (parts.transformer.empty()) throw ModelError("[" + place + "] expected adapters of FLUX's transformer, got none");
  return std::move(parts.transformer);
}

}  // namespace millrace::flux
