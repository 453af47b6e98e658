#include "models/adapter_set.h"

#include <algorithm>
#include <set>

#include "adapters/dora.h"
#include "adapters/gradient_norm.h"
#include "adapters/input_dropout.h"
#include "adapters/layer_numbers.h"
#include "adapters/lora_initialize.h"
#include "adapters/read_adapters.h"
#include "adapters/row_adapters.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "comm/mesh.h"
#include "formats/safetensors.h"
#include "nn/quantised_weight.h"

namespace millrace {
namespace {

double loraplus_ratio_of(const AdaptableLayer& layer, const LoraConfig& config) {
  return layer.loraplus_ratio ? *layer.loraplus_ratio : config.loraplus_ratio.value_or(1);
}

// How an adapter's parameter is split beside its layer's weight [N, K].
TensorSplit split_beside(const TensorSplit& weight, const std::string& role) {
  const bool is_down = role == "down";
  return is_down == (weight.dim == 1) ? weight : TensorSplit{};
}

// The matrix that the scale can go into.
const char* scaled_role(const AdapterTensors& adapter) {
  switch (adapter.kind) {
    case AdapterKind::kLora:
    case AdapterKind::kDora:
      return "up";
    case AdapterKind::kLoha:
      return "w1_a";
    case AdapterKind::kLokr:
      break;
  }
  return adapter.tensors.contains("w2") ? "w2" : "w2_b";
}

}  // namespace

AdapterSet::AdapterSet(const LoraConfig& config, const std::vector<AdaptableLayer>& layers,
                       const FlatParametersOptions& placement)
    : config_(config), scales_(config) {
  if (placement.mesh && placement.mesh->shape().tp > 1) tp_ = &placement.mesh->tp();
  if (placement.mesh && placement.mesh->shard().size() > 1) shard_ = &placement.mesh->shard();
  attach(layers);
  place(placement);
}

void AdapterSet::attach(const std::vector<AdaptableLayer>& layers) {
  std::vector<std::string> names;
  for (const AdaptableLayer& layer : layers) names.push_back(layer.name);
  const LayerNumbers ranks(config_.rank_patterns, "lora.rank_patterns");
  const LayerNumbers alphas(config_.alpha_patterns, "lora.alpha_patterns");
  const LayerNumbers lr_factors(config_.lr_patterns, "lora.lr_patterns");
  ranks.check(names);
  std::vector<std::string> adapted_names;
  for (const AdaptableLayer& layer : layers) {
    const auto rank = static_cast<int64_t>(ranks.of(layer.name, static_cast<double>(config_.rank)));
    if (rank == 0) continue;
    adapted_names.push_back(layer.name);
    if (tp_ && layer.split.is_whole()) {
      throw ConfigError(str("[parallelism.tensor_parallel_degree] expected 1 with LoRA on ", layer.name, ", got ",
                            tp_->size(), " (data_parallel_shard_degree shards the frozen weights)"));
    }
    const double lr_factor = layer.lr_factor * lr_factors.of(layer.name, 1);
    if (!layer.parts.empty()) {
      attach_parts(layer, rank, lr_factor);
      continue;
    }
    Group* inputs = layer.split.dim == 1 ? tp_ : nullptr;
    adapted_.push_back(
        {.layer = layer.name,
         .lr_factor = lr_factor,
         .loraplus_ratio = loraplus_ratio_of(layer, config_),
         .linear = layer.linear,
         .adapter = make_configured_adapter(config_, *layer.linear, rank, scales_.of(layer.name, rank), inputs),
         .split = layer.split});
    layer.linear->set_adapter(adapted_.back().adapter);
  }
  if (adapted_.empty()) {
    throw ConfigError("[lora.rank_patterns] expected a layer with a rank above 0, got 0 for all of lora.targets");
  }
  alphas.check(adapted_names, " with an adapter");
  lr_factors.check(adapted_names, " with an adapter");
}

void AdapterSet::attach_parts(const AdaptableLayer& layer, int64_t rank, double lr_factor) {
  MILLRACE_CHECK(config_.kind == AdapterKind::kLora);
  std::vector<RowAdapters::Part> rows;
  int64_t begin = 0;
  for (const auto& [name, size] : layer.parts) {
    const auto adapter = std::make_shared<Lora>(layer.linear->in_features(), size, rank, scales_.of(layer.name, rank));
    adapted_.push_back({.layer = layer.name + "." + name,
                        .lr_factor = lr_factor,
                        .loraplus_ratio = loraplus_ratio_of(layer, config_),
                        .linear = layer.linear,
                        .adapter = adapter,
                        .split = {}});
    rows.push_back({begin, size, adapter});
    begin += size;
  }
  MILLRACE_CHECK(begin == layer.linear->out_features());
  layer.linear->set_adapter(std::make_shared<RowAdapters>(std::move(rows)));
}

// In the order of the rates, so that those of a group follow each other; with one rate, layer after layer.
void AdapterSet::place(const FlatParametersOptions& placement) {
  std::map<std::string, UnitSpec> by_rate;
  std::map<std::string, TensorSplit> splits;
  for (const Adapted& each : adapted_) {
    for (const auto& own : each.adapter->named_parameters()) {
      const double factor = each.lr_factor * (own.key() == "up" ? each.loraplus_ratio : 1);
      const std::string name = factor == 1 ? "adapters" : str("adapters at ", factor, " times lr");
      UnitSpec& rated = by_rate[name];
      rated.parameters.emplace_back(each.layer + "." + own.key(), own.value());
      const TensorSplit split = split_beside(each.split, own.key());
      splits[rated.parameters.back().first] = split;
      if (split.is_whole() && !each.split.is_whole()) partial_.push_back(own.value());
      if (rated.parameters.size() == 1) rate_groups_.push_back({name, factor, {}});
    }
  }
  UnitSpec unit{"adapters", {}};
  for (RateGroup& group : rate_groups_) {
    for (auto& parameter : by_rate.at(group.name).parameters) {
      group.parameters.push_back(parameter.first);
      unit.splits.push_back(splits.at(parameter.first));
      unit.parameters.push_back(std::move(parameter));
    }
  }
  if (std::all_of(rate_groups_.begin(), rate_groups_.end(), [](const RateGroup& g) { return g.lr_factor == 0; })) {
    throw ConfigError("[lora.lr_patterns] expected a layer with a factor above 0, got 0 for all of lora.targets");
  }
  if (rate_groups_.size() == 1 && rate_groups_[0].lr_factor == 1) rate_groups_.clear();
  parameters_ = std::make_unique<FlatParameters>(std::vector<UnitSpec>{unit}, placement);
}

std::vector<AdaptedLayer> AdapterSet::loras() const {
  std::vector<AdaptedLayer> layers;
  for (const Adapted& each : adapted_) {
    auto* lora = dynamic_cast<Lora*>(each.adapter.get());
    MILLRACE_CHECK(lora != nullptr);
    layers.push_back({each.layer, lora});
  }
  return layers;
}

void AdapterSet::start_training_pass(const DropoutSamples& samples) {
  if (has_dropout(config_)) set_dropout(loras(), config_, samples);
}

void AdapterSet::end_training_pass() {
  if (has_dropout(config_)) clear_dropout(loras());
}

// Ranks that share a layer by its outputs read the same inputs, and drop the same; by its inputs, each its own.
void AdapterSet::start_input_dropout(uint64_t pass) {
  if (config_.dropout == 0) return;
  for (const Adapted& each : adapted_) {
    const uint64_t own = each.is_split_by_inputs() && tp_ ? static_cast<uint64_t>(tp_->rank()) : 0;
    const uint64_t layer = mix64(checksum64(each.layer.data(), each.layer.size()) + own);
    const RandomStream stream = random_stream(layer, RandomPurpose::kAugmentation, 0, pass);
    each.linear->set_adapter(std::make_shared<InputDropout>(each.adapter, config_.dropout, stream));
  }
}

void AdapterSet::end_input_dropout() {
  if (config_.dropout == 0) return;
  for (const Adapted& each : adapted_) each.linear->set_adapter(each.adapter);
}

// All ranks find the same factors from the gathered matrices; each shrinks its own part of the masters. Of an adapter
// in parts, the square of the norm is the sum of theirs.
void AdapterSet::weights_changed() {
  if (!config_.scale_weight_norms) return;
  const torch::NoGradGuard no_grad;
  const std::vector<AdaptedLayer> layers = loras();
  torch::Tensor norms;
  {
    const UnitUse use = parameters_->forward_unit(0, /*keep=*/false);
    std::vector<LoraPair> pairs;
    for (const AdaptedLayer& layer : layers) {
      pairs.push_back(
          {layer.adapter->down_RK, layer.adapter->up_NR, scales_.of(layer.name, layer.adapter->down_RK.size(0))});
    }
    norms = product_norms(pairs);
    if (tp_) {
      const torch::Tensor squares = norms.square().to(parameters_->compute().device());
      tp_->all_reduce(squares).wait();
      norms = squares.sqrt().cpu();
    }
  }
  limited_norms_ = max_norm_factors(norms, *config_.scale_weight_norms);
  const MaxNormResult& result = *limited_norms_;
  if (result.scaled == 0) return;
  std::map<std::string, double> factors;
  for (size_t i = 0; i < layers.size(); ++i) factors[layers[i].name] = result.factors[i];
  for (const ParameterPiece& piece : parameters_->pieces()) {
    const double factor = factors.at(layer_of(piece.name));
    if (factor != 1) piece.view(parameters_->master()).mul_(factor);
  }
  parameters_->refresh_compute();
}

std::optional<double> AdapterSet::mean_gradient_norm(const torch::Tensor& grad) {
  if (config_.kind != AdapterKind::kLora || tp_ != nullptr) return std::nullopt;
  const torch::NoGradGuard no_grad;
  const UnitUse use = parameters_->forward_unit(0, /*keep=*/false);
  torch::Tensor whole = parameters_->layout().own_part(grad, 0);
  if (shard_ != nullptr) {
    whole = torch::empty({parameters_->layout().size()}, grad.options());
    shard_->all_gather(whole, parameters_->layout().own_part(grad, 0)).wait();
  }
  const std::map<std::string, torch::Tensor> gradients = parameters_->named_views(whole);
  std::vector<LoraGradient> pairs;
  for (const auto& [layer, lora] : loras()) {
    const double scale = scales_.of(layer, lora->down_RK.size(0));
    pairs.push_back({{lora->down_RK, lora->up_NR, scale}, gradients.at(layer + ".down"), gradients.at(layer + ".up")});
  }
  return millrace::mean_gradient_norm(pairs);
}

void AdapterSet::initialize(uint64_t seed, const std::vector<AdaptedBase>& bases) {
  const torch::NoGradGuard no_grad;
  for (const ParameterSlice& slice : parameters_->slices()) {
    if (role_of(slice.name) == "magnitude" || !parameters_->owns(slice)) continue;
    parameters_->assign(slice, initial_adapter_matrix(config_.kind, slice.name, slice.part.global_shape(slice.shape),
                                                      seed, parameters_->compute().device()));
  }
  if (config_.kind == AdapterKind::kDora) initialize_magnitudes(bases);
  parameters_->refresh_compute();
}

// With the norms of the frozen rows, unit by unit: a sharded weight has memory only meanwhile.
void AdapterSet::initialize_magnitudes(const std::vector<AdaptedBase>& bases) {
  std::map<std::string, const ParameterSlice*> magnitudes;
  for (const ParameterSlice& slice : parameters_->slices()) {
    if (role_of(slice.name) == "magnitude") magnitudes[layer_of(slice.name)] = &slice;
  }
  const auto options = bases.front().weights->compute().options();
  const auto set = [&](const std::string& layer) {
    const auto found =
        std::find_if(adapted_.begin(), adapted_.end(), [&](const Adapted& each) { return each.layer == layer; });
    if (found == adapted_.end()) return;
    const ParameterSlice& slice = *magnitudes.at(layer);
    const torch::Tensor own =
        row_norms_of(found->linear->weight(), options, found->is_split_by_inputs() ? tp_ : nullptr);
    parameters_->assign(slice, whole_of_parts(tp_, slice.part, own));
  };
  std::set<std::string> done;
  const auto set_of_weight = [&](const LinearWeight* weight) {
    for (const Adapted& each : adapted_) {
      if (&each.linear->weight() == weight && done.insert(each.layer).second) set(each.layer);
    }
  };
  for (const auto& [prefix, base] : bases) {
    for (size_t unit = 0; unit < base->units().size(); ++unit) {
      const UnitUse use = base->forward_unit(unit, /*keep=*/false);
      for (const QuantisedWeight* weight : base->matrices_in_use(unit)) set_of_weight(weight);
      for (size_t i = base->units()[unit].first_slice; i < base->units()[unit].end_slice; ++i) {
        const std::string& name = base->slices()[i].name;
        if (role_of(name) != "weight") continue;
        done.insert(prefix + layer_of(name));
        set(prefix + layer_of(name));
      }
    }
  }
  for (const Adapted& each : adapted_) {
    if (!done.contains(each.layer)) set(each.layer);  // quantised and always there
  }
}

bool AdapterSet::has_layer(const std::string& name) const {
  return std::any_of(adapted_.begin(), adapted_.end(), [&](const Adapted& each) { return each.layer == name; });
}

void AdapterSet::start_from(const std::map<std::string, TensorMap>& layers, const std::filesystem::path& file) {
  const torch::NoGradGuard no_grad;
  std::map<std::string, const ParameterSlice*> slices;
  for (const ParameterSlice& slice : parameters_->slices()) slices[slice.name] = &slice;
  for (const auto& [layer, tensors] : layers) {
    for (const auto& [role, values] : tensors) {
      const std::string name = layer + "." + role;
      const auto found = slices.find(name);
      if (found == slices.end()) {
        throw ModelError(str("[", file.string(),
                             "] expected adapters of the layers that lora.targets and rank_patterns ",
                             "choose, got one of ", layer, " (", role, ")"));
      }
      const std::vector<int64_t> shape = found->second->part.global_shape(found->second->shape);
      if (values.sizes() != c10::IntArrayRef(shape)) {
        throw ModelError(str("[", file.string(), ": ", name, "] expected the shape ", shape_text(shape),
                             " that [lora] says, got ", shape_text(values.sizes()),
                             role == "down" ? str(" (try lora.rank=", values.size(0), ")") : std::string()));
      }
      if (parameters_->owns(*found->second)) parameters_->assign(*found->second, values);
    }
  }
  parameters_->refresh_compute();
  log_info("adapters start from ", file.string(), ": ", layers.size(), " of ", adapted_.size(), " layers");
}

void AdapterSet::set_strength(double strength) {
  for (const Adapted& each : adapted_) each.adapter->set_strength(strength);
}

FlatParametersOptions frozen_placement(FlatParametersOptions placement, const LoraConfig& config) {
  placement.training = false;
  placement.base_storage = base_storage_of(config);
  placement.offload_blocks = offload_blocks_of(config).value_or(0);  // auto is settled before, where there is a choice
  const int tp_size = placement.mesh != nullptr ? placement.mesh->shape().tp : 1;
  if (tp_size > 1 && placement.base_storage != BaseStorage::kDense) {
    throw ConfigError(str("[lora.base_dtype] expected auto with parallelism.tensor_parallel_degree ", tp_size, ", got ",
                          config.base_dtype, ": the scales of stored blocks do not follow the parts of a matrix (try ",
                          "parallelism.tensor_parallel_degree=1)"));
  }
  return placement;
}

std::map<std::string, TensorMap> initial_values(const std::vector<AdapterTensors>& adapters, const LoraConfig& config,
                                                const std::string& place) {
  const LoraScales scales(config);
  std::map<std::string, TensorMap> layers;
  for (const AdapterTensors& adapter : adapters) {
    if (adapter.kind != config.kind) {
      throw ModelError(str("[", place, ": ", adapter.tensors.begin()->second.name, "] expected an adapter of kind ",
                           choice_text(config.kind), ", as lora.kind says, got ", choice_text(adapter.kind)));
    }
    const int64_t rank = sizes_of(adapter).rank;
    const double factor = adapter.scale / (rank > 0 ? scales.of(adapter.module, rank) : 1);
    TensorMap& values = layers[adapter.module];
    for (const auto& [role, tensor] : adapter.tensors) {
      values[role] = in_model_order(tensor).to(torch::kFloat32);
      if (role == "magnitude") values[role] = values[role].reshape({-1});
    }
    torch::Tensor& scaled = values.at(scaled_role(adapter));
    if (factor != 1) scaled = scaled * factor;
  }
  return layers;
}

}  // namespace millrace
