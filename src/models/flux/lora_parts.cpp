#include "models/flux/lora_parts.h"

#include <algorithm>

#include "adapters/adapter_rows.h"
#include "adapters/as_lora.h"
#include "adapters/join_rows.h"
#include "adapters/read_adapters.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "models/flux/lora_layout.h"
#include "models/flux/weight_names.h"

namespace millrace::flux {
namespace {

constexpr size_t kLayersShown = 5;

// A part of a layer that diffusers has as a layer of its own.
struct DiffusersPart {
  std::string theirs;
  int64_t begin = 0, end = 0;
  bool swap_halves = false;
};
using PartsByLayer = std::map<std::string, std::vector<DiffusersPart>>;

PartsByLayer parts_by_layer(const FluxConfig& config) {
  std::map<std::string, int64_t> rows;
  for (const LinearLayer& layer : linear_layers(config)) rows[layer.module] = layer.out_features;
  PartsByLayer parts;
  for (const WeightRule& rule : weight_rules(config, Naming::kDiffusers)) {
    if (!ends_with(rule.theirs, ".weight")) continue;
    const std::string ours = rule.ours.substr(0, rule.ours.rfind('.'));
    const auto found = rows.find(ours);
    if (found == rows.end()) continue;  // a norm
    parts[ours].push_back({rule.theirs.substr(0, rule.theirs.rfind('.')), rule.row_begin,
                           rule.row_end < 0 ? found->second : rule.row_end, rule.swap_halves});
  }
  return parts;
}

// False where it is a Kronecker product that cannot be taken apart.
bool add_parts(AdaptersByLayer& layers, const AdapterTensors& adapter, const std::vector<DiffusersPart>& all) {
  const int64_t begin = adapter.row_begin, end = begin + sizes_of(adapter).out_features;
  std::vector<DiffusersPart> parts;
  std::copy_if(all.begin(), all.end(), std::back_inserter(parts),
               [&](const DiffusersPart& part) { return part.begin >= begin && part.end <= end; });
  MILLRACE_CHECK(!parts.empty());
  std::vector<RowRange> ranges;
  for (const DiffusersPart& part : parts) ranges.push_back({part.begin - begin, part.end - part.begin});
  const std::optional<std::vector<AdapterTensors>> apart = take_apart(adapter, ranges);
  if (!apart) return false;
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto own = parts[i].swap_halves ? with_halves_swapped(apart->at(i)) : std::optional(apart->at(i));
    if (!own) return false;
    AdapterTensors layer = *own;
    layer.module = parts[i].theirs;
    layer.row_begin = 0;
    layer.row_end = -1;
    if (!layers.emplace(layer.module, layer).second) {
      throw ModelError("[" + layer.module + "] expected one adapter for a layer, got two");
    }
  }
  return true;
}

int64_t outputs_of(const FluxConfig& config, const std::string& module) {
  for (const LinearLayer& layer : linear_layers(config)) {
    if (layer.module == module) return layer.out_features;
  }
  throw LogicError("no linear layer: " + module);
}

std::string some_of(std::vector<std::string> layers) {
  const size_t count = layers.size();
  layers.resize(std::min(count, kLayersShown));
  return join(layers, ", ") + (count > kLayersShown ? str(" and ", count - kLayersShown, " more") : "");
}

}  // namespace

std::vector<AdapterTensors> whole_adapters(const std::vector<AdapterTensors>& transformer, const FluxConfig& config) {
  std::map<std::string, std::vector<const AdapterTensors*>> by_module;
  for (const AdapterTensors& adapter : transformer) by_module[adapter.module].push_back(&adapter);
  std::vector<AdapterTensors> whole;
  for (const auto& [module, adapters] : by_module) {
    const AdapterTensors& first = *adapters.front();
    const int64_t out_features = outputs_of(config, module);
    const bool is_whole = adapters.size() == 1 && sizes_of(first).out_features == out_features;
    whole.push_back(is_whole ? first : put_together(adapters, out_features));
  }
  return whole;
}

std::optional<AdaptersByLayer> by_diffusers_layer(const std::vector<AdapterTensors>& transformer,
                                                  const FluxConfig& config, std::vector<std::string>& whole) {
  const PartsByLayer parts = parts_by_layer(config);
  AdaptersByLayer layers;
  for (const AdapterTensors& adapter : transformer) {
    if (!add_parts(layers, adapter, parts.at(adapter.module))) whole.push_back(adapter.module);
  }
  return whole.empty() ? std::optional(layers) : std::nullopt;
}

std::vector<AdapterTensors> all_as_lora(const std::vector<AdapterTensors>& adapters, const std::string& reader) {
  std::vector<AdapterTensors> all;
  std::vector<std::string> dora, too_large;
  int64_t changed = 0, smallest = 0, largest = 0;
  for (const AdapterTensors& adapter : adapters) {
    const std::optional<AdapterTensors> lora = as_lora(adapter);
    if (!lora) {
      (adapter.kind == AdapterKind::kDora ? dora : too_large).push_back(adapter.module);
      continue;
    }
    all.push_back(*lora);
    if (adapter.kind == AdapterKind::kLora) continue;
    const int64_t rank = sizes_of(*lora).rank;
    smallest = changed == 0 ? rank : std::min(smallest, rank);
    largest = std::max(largest, rank);
    ++changed;
  }
  if (!dora.empty()) {
    throw ModelError("[" + some_of(dora) + "] expected no DoRA, since " + reader + " (try --naming kohya)");
  }
  if (!too_large.empty()) {
    throw ModelError("[" + some_of(too_large) + "] expected LoHa or LoKr of a rank that LoRA can hold, since " +
                     reader +
                     ", got a rank so high that the weights are smaller (try --naming kohya; or --merge, and of the "
                     "result --extract-from with --rank, the nearest LoRA of that rank)");
  }
  if (changed > 0) {
    log_warning("writes ", changed, " adapters, of LoHa or LoKr, as LoRA that computes the same, of rank ", smallest,
                smallest == largest ? "" : str(" to ", largest), ": ", reader);
  }
  return all;
}

}  // namespace millrace::flux
