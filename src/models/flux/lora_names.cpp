#include "models/flux/lora_names.h"

#include <algorithm>
#include <limits>
#include <map>

#include "adapters/adapter_rows.h"
#include "adapters/read_adapters.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "models/flux/lora_layout.h"
#include "models/flux/lora_split.h"
#include "models/flux/weight_names.h"
#include "models/lora_text_names.h"

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
  const std::vector<std::string> roles = roles_of_halves(adapter);
  if (roles.empty()) {
    throw ModelError("[" + file + ": " + adapter.tensors.begin()->second.name +
                     "] expected an even number of rows in the first matrix of a Kronecker product where the two "
                     "programs order the halves of the outputs differently, got an odd one");
  }
  for (const std::string& role : roles) adapter.tensors.at(role).swaps_halves = true;
  return adapter;
}

bool is_of_text_encoder(const std::string& module) {
  constexpr std::array kPrefixes = {"lora_te_",      "lora_te1_",       "lora_te2_",     "lora_te3_",
                                    "text_encoder.", "text_encoder_2.", "text_encoders."};
  return std::any_of(kPrefixes.begin(), kPrefixes.end(),
                     [&](const char* prefix) { return starts_with(module, prefix); });
}

const std::string& name_in_file(const AdapterTensors& adapter) {
  return adapter.tensors.begin()->second.name;
}

// Of another model, for one.
void check_sizes(const AdapterTensors& adapter, const LinearLayer& layer, const std::string& place) {
  const AdapterSizes sizes = sizes_of(adapter);
  const int64_t rows = (adapter.row_end < 0 ? layer.out_features : adapter.row_end) - adapter.row_begin;
  if (sizes.in_features == layer.in_features && sizes.out_features == rows) return;
  throw ModelError(str("[", place, ": ", name_in_file(adapter), "] expected an adapter of ", layer.in_features,
                       " inputs and ", rows, " outputs for ", layer.module, ", got ", sizes.in_features, " and ",
                       sizes.out_features, " (try the weights that the file was trained on)"));
}

// Two conventions in one file may name the same layer, or the same rows of a fused one.
void check_named_once(const LoraParts& parts, const std::string& place) {
  const auto fail = [&](const AdapterTensors& adapter, const AdapterTensors& other, const std::string& layer) {
    throw ModelError(str("[", place, ": ", name_in_file(adapter), "] expected one adapter for each layer, got ",
                         name_in_file(other), " for ", layer, " as well"));
  };
  std::multimap<std::string, const AdapterTensors*> by_module;
  const auto end = [](const AdapterTensors& adapter) {
    return adapter.row_end < 0 ? std::numeric_limits<int64_t>::max() : adapter.row_end;
  };
  for (const AdapterTensors& adapter : parts.transformer) {
    const auto [first, last] = by_module.equal_range(adapter.module);
    for (auto other = first; other != last; ++other) {
      const bool is_apart = end(*other->second) <= adapter.row_begin || end(adapter) <= other->second->row_begin;
      if (!is_apart) fail(adapter, *other->second, adapter.module);
    }
    by_module.emplace(adapter.module, &adapter);
  }
  std::map<std::string, const AdapterTensors*> by_layer;
  for (const AdapterTensors& adapter : parts.text_encoders) {
    const auto layer = parse_text_encoder_layer(adapter.module);
    if (!layer) continue;  // refused by those who use it
    const auto [other, is_new] = by_layer.emplace(run_name(*layer), &adapter);
    if (!is_new) fail(adapter, *other->second, other->first);
  }
}

}  // namespace

LoraParts sort_adapters(std::vector<AdapterTensors> in_file, const FluxConfig& config, const std::string& place,
                        std::vector<std::string>* unknown) {
  const std::map<std::string, Place> places = places_by_name(config);
  LoraParts parts;
  std::vector<std::string> of_neither;
  for (AdapterTensors& adapter : in_file) {
    const Place* found = find_place(places, adapter.module);
    if (!found && is_of_text_encoder(adapter.module)) {
      parts.text_encoders.push_back(std::move(adapter));
    } else if (!found) {
      of_neither.push_back(name_in_file(adapter));
    } else {
      parts.transformer.push_back(placed(std::move(adapter), *found, place));
    }
  }
  if (unknown != nullptr) {
    *unknown = std::move(of_neither);
  } else if (!of_neither.empty()) {
    const size_t count = of_neither.size();
    of_neither.resize(std::min(count, kUnknownShown));
    throw ModelError(str("[", place, "] expected adapters of FLUX with ", config.depth, " double and ",
                         config.depth_single_blocks, " single blocks, got ", count,
                         " of modules that it does not have: ", join(of_neither, ", "),
                         count > kUnknownShown ? ", ..." : "", " (try the weights that the file was trained on)"));
  }
  check_named_once(parts, place);
  const std::vector<LinearLayer> layers = linear_layers(config);
  for (const AdapterTensors& adapter : parts.transformer) {
    const auto layer = std::find_if(layers.begin(), layers.end(),
                                    [&](const LinearLayer& one) { return one.module == adapter.module; });
    check_sizes(adapter, *layer, place);
  }
  return parts;
}

LoraParts sort_run_adapters(std::vector<AdapterTensors> adapters, const FluxConfig& config) {
  LoraParts parts;
  for (AdapterTensors& adapter : adapters) {
    if (const auto layer = parse_run_text_layer(adapter.module)) {
      adapter.module = diffusers_module(*layer);
      parts.text_encoders.push_back(std::move(adapter));
    } else {
      parts.transformer.push_back(std::move(adapter));
    }
  }
  parts.transformer = placed_parts(std::move(parts.transformer), config);
  return parts;
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
