#include "diffusion/flux_adapters.h"

#include <algorithm>
#include <map>
#include <set>

#include "adapters/dora.h"
#include "adapters/layer_patterns.h"
#include "adapters/lora_initialize.h"
#include "adapters/max_norm.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "comm/mesh.h"
#include "diffusion/initial_adapters.h"
#include "formats/safetensors.h"

namespace millrace {
namespace {

FlatParametersOptions frozen(FlatParametersOptions placement, const LoraConfig& config) {
  if (placement.mesh != nullptr && placement.mesh->shape().tp > 1) {
    throw ConfigError(str("[parallelism.tensor_parallel_degree] expected 1 with LoRA, got ", placement.mesh->shape().tp,
                          " (data_parallel_shard_degree shards the frozen weights)"));
  }
  placement.training = false;
  placement.base_storage = base_storage_of(config);
  return placement;
}

// Every pattern of "pattern=number" must fit some layer.
void check_patterns(const std::vector<std::string>& texts, const std::vector<std::string>& layers,
                    const std::string& option) {
  std::vector<std::string> patterns;
  for (const std::string& text : texts) patterns.push_back(text.substr(0, text.rfind('=')));
  matching_layers(layers, patterns, option);
}

std::map<std::string, std::shared_ptr<Linear>> linear_layers(const flux::Flux& model) {
  std::map<std::string, std::shared_ptr<Linear>> layers;
  for (const auto& item : model.named_modules("", /*include_self=*/false)) {
    if (const auto layer = std::dynamic_pointer_cast<Linear>(item.value())) layers.emplace(item.key(), layer);
  }
  return layers;
}

std::vector<std::string> patterns_of(const std::vector<std::string>& targets) {
  std::vector<std::string> patterns;
  for (const std::string& target : targets) {
    if (target == "all") {
      patterns.insert(patterns.end(), {"double_blocks.*", "single_blocks.*"});
    } else if (target == "attention") {
      patterns.insert(patterns.end(), {"double_blocks.*_attn.qkv", "double_blocks.*_attn.proj",
                                       "single_blocks.*.linear1", "single_blocks.*.linear2"});
    } else {
      patterns.push_back(target);
    }
  }
  return patterns;
}

}  // namespace

std::vector<std::string> adapted_layers(const flux::Flux& model, const std::vector<std::string>& targets) {
  std::vector<std::string> names;
  bool has_double = false, has_single = false;
  for (const auto& item : model.named_modules("", /*include_self=*/false)) {
    if (!std::dynamic_pointer_cast<Linear>(item.value())) continue;
    names.push_back(item.key());
    has_double = has_double || starts_with(item.key(), "double_blocks.");
    has_single = has_single || starts_with(item.key(), "single_blocks.");
  }
  std::vector<std::string> patterns;
  for (const std::string& pattern : patterns_of(targets)) {
    // A named set covers the kinds of blocks that the model has.
    const bool is_absent = (!has_double && starts_with(pattern, "double_blocks.*")) ||
                           (!has_single && starts_with(pattern, "single_blocks.*"));
    if (!is_absent) patterns.push_back(pattern);
  }
  return matching_layers(names, patterns, "lora.targets");
}

FluxAdapters::FluxAdapters(const LoraConfig& config, const flux::FluxConfig& sizes,
                           const FlatParametersOptions& placement)
    : config_(config), model_(sizes, frozen(placement, config)) {
  attach();
  place(placement);
}

void FluxAdapters::attach() {
  const std::vector<std::string> names = adapted_layers(model_, config_.targets);
  check_patterns(config_.rank_patterns, names, "lora.rank_patterns");
  check_patterns(config_.lr_patterns, names, "lora.lr_patterns");
  const auto layers = linear_layers(model_);
  for (const std::string& name : names) {
    const int64_t rank = rank_of_layer(config_, name);
    if (rank == 0) continue;
    Linear& layer = *layers.at(name);
    adapted_.push_back({name, &layer, make_configured_adapter(config_, layer, rank)});
    layer.set_adapter(adapted_.back().adapter);
  }
  if (adapted_.empty()) {
    throw ConfigError("[lora.rank_patterns] expected a layer with a rank above 0, got 0 for all of lora.targets");
  }
}

// In the order of the rates, so that those of a group follow each other; with one rate, layer after layer.
void FluxAdapters::place(const FlatParametersOptions& placement) {
  std::map<std::string, UnitSpec> by_rate;
  for (const Adapted& each : adapted_) {
    const double of_layer = number_for_layer(config_.lr_patterns, each.layer, 1, "lora.lr_patterns");
    for (const auto& own : each.adapter->named_parameters()) {
      const double factor = of_layer * (own.key() == "up" ? config_.loraplus_ratio.value_or(1) : 1);
      const std::string name = factor == 1 ? "adapters" : str("adapters at ", factor, " times lr");
      UnitSpec& rated = by_rate[name];
      rated.parameters.emplace_back(each.layer + "." + own.key(), own.value());
      if (rated.parameters.size() == 1) rate_groups_.push_back({name, factor, {}});
    }
  }
  UnitSpec unit{"adapters", {}};
  for (RateGroup& group : rate_groups_) {
    for (auto& parameter : by_rate.at(group.name).parameters) {
      group.parameters.push_back(parameter.first);
      unit.parameters.push_back(std::move(parameter));
    }
  }
  if (std::all_of(rate_groups_.begin(), rate_groups_.end(), [](const RateGroup& g) { return g.lr_factor == 0; })) {
    throw ConfigError("[lora.lr_patterns] expected a layer with a factor above 0, got 0 for all of lora.targets");
  }
  if (rate_groups_.size() == 1 && rate_groups_[0].lr_factor == 1) rate_groups_.clear();
  parameters_ = std::make_unique<FlatParameters>(std::vector<UnitSpec>{unit}, placement);
}

torch::Tensor FluxAdapters::forward(const flux::FluxInputs& inputs, flux::Flux::Saved* saved, Keep keep) {
  const UnitUse use = parameters_->forward_unit(0, /*keep=*/saved != nullptr);
  return model_.forward(inputs, saved, keep);
}

void FluxAdapters::backward(flux::Flux::Saved& saved, const torch::Tensor& doutput_BIC) {
  const UnitUse use = parameters_->backward_unit(0);
  model_.backward(saved, doutput_BIC);
}

std::vector<AdaptedLayer> FluxAdapters::loras() const {
  std::vector<AdaptedLayer> layers;
  for (const Adapted& each : adapted_) {
    auto* lora = dynamic_cast<Lora*>(each.adapter.get());
    MILLRACE_CHECK(lora != nullptr);
    layers.push_back({each.layer, lora});
  }
  return layers;
}

void FluxAdapters::start_training_pass(const DropoutSamples& samples) {
  if (has_dropout(config_)) set_dropout(loras(), config_, samples);
}

void FluxAdapters::end_training_pass() {
  if (has_dropout(config_)) clear_dropout(loras());
}

// All ranks find the same factors from the gathered matrices; each shrinks its own part of the masters.
void FluxAdapters::weights_changed() {
  if (!config_.scale_weight_norms) return;
  const torch::NoGradGuard no_grad;
  const std::vector<AdaptedLayer> layers = loras();
  torch::Tensor norms;
  {
    const UnitUse use = parameters_->forward_unit(0, /*keep=*/false);
    std::vector<LoraPair> pairs;
    for (const AdaptedLayer& layer : layers) {
      pairs.push_back(
          {layer.adapter->down_RK, layer.adapter->up_NR, scale_of_rank(config_, layer.adapter->down_RK.size(0))});
    }
    norms = product_norms(pairs);
  }
  const MaxNormResult result = max_norm_factors(norms, *config_.scale_weight_norms);
  if (result.scaled == 0) return;
  std::map<std::string, double> factors;
  for (size_t i = 0; i < layers.size(); ++i) factors[layers[i].name] = result.factors[i];
  for (const ParameterPiece& piece : parameters_->pieces()) {
    const double factor = factors.at(layer_of(piece.name));
    if (factor != 1) piece.view(parameters_->master()).mul_(factor);
  }
  parameters_->refresh_compute();
}

void FluxAdapters::initialize(uint64_t seed) {
  const torch::NoGradGuard no_grad;
  for (const ParameterSlice& slice : parameters_->slices()) {
    if (role_of(slice.name) == "magnitude" || !parameters_->owns(slice)) continue;
    parameters_->assign(
        slice, initial_adapter_matrix(config_.kind, slice.name, slice.shape, seed, parameters_->compute().device()));
  }
  if (config_.kind == AdapterKind::kDora) initialize_magnitudes();
  parameters_->refresh_compute();
}

// With the norms of the frozen rows, unit by unit: a sharded weight has memory only meanwhile.
void FluxAdapters::initialize_magnitudes() {
  std::map<std::string, const ParameterSlice*> magnitudes;
  for (const ParameterSlice& slice : parameters_->slices()) {
    if (role_of(slice.name) == "magnitude") magnitudes[layer_of(slice.name)] = &slice;
  }
  FlatParameters& base = model_.flat_parameters();
  const auto options = base.compute().options();
  const auto set = [&](const std::string& layer) {
    const auto found =
        std::find_if(adapted_.begin(), adapted_.end(), [&](const Adapted& each) { return each.layer == layer; });
    if (found == adapted_.end()) return;
    parameters_->assign(*magnitudes.at(layer), row_norms_of(found->linear->weight(), options));
  };
  std::set<std::string> dense;
  for (size_t unit = 0; unit < base.units().size(); ++unit) {
    const UnitUse use = base.forward_unit(unit, /*keep=*/false);
    for (size_t i = base.units()[unit].first_slice; i < base.units()[unit].end_slice; ++i) {
      const std::string& name = base.slices()[i].name;
      if (role_of(name) != "weight") continue;
      dense.insert(layer_of(name));
      set(layer_of(name));
    }
  }
  for (const Adapted& each : adapted_) {
    if (!dense.contains(each.layer)) set(each.layer);  // quantised: every rank holds it
  }
}

void FluxAdapters::start_from(const std::filesystem::path& file) {
  const torch::NoGradGuard no_grad;
  std::map<std::string, const ParameterSlice*> slices;
  for (const ParameterSlice& slice : parameters_->slices()) slices[slice.name] = &slice;
  size_t layers = 0;
  for (const auto& [layer, tensors] : initial_adapters(file, config_, model_.config())) {
    for (const auto& [role, values] : tensors) {
      const std::string name = layer + "." + role;
      const auto found = slices.find(name);
      if (found == slices.end()) {
        throw ModelError(str("[", file.string(),
                             "] expected adapters of the layers that lora.targets and rank_patterns ",
                             "choose, got one of ", layer, " (", role, ")"));
      }
      if (values.sizes() != c10::IntArrayRef(found->second->shape)) {
        throw ModelError(str("[", file.string(), ": ", name, "] expected the shape ", shape_text(found->second->shape),
                             " that [lora] says, got ", shape_text(values.sizes()),
                             role == "down" ? str(" (try lora.rank=", values.size(0), ")") : std::string()));
      }
      if (parameters_->owns(*found->second)) parameters_->assign(*found->second, values);
    }
    ++layers;
  }
  parameters_->refresh_compute();
  log_info("adapters start from ", file.string(), ": ", layers, " of ", adapted_.size(), " layers");
}

void FluxAdapters::set_strength(double strength) {
  for (const Adapted& each : adapted_) each.adapter->set_strength(strength);
}

}  // namespace millrace
