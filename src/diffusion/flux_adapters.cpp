#include "diffusion/flux_adapters.h"

#include <map>

#include "adapters/layer_patterns.h"
#include "adapters/lora_initialize.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "comm/mesh.h"

namespace millrace {
namespace {

FlatParametersOptions frozen(FlatParametersOptions placement) {
  placement.training = false;
  return placement;
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
    : config_(config), model_(sizes, frozen(placement)) {
  if (placement.mesh != nullptr && placement.mesh->shape().tp > 1) {
    throw ConfigError(str("[parallelism.tensor_parallel_degree] expected 1 with LoRA, got ", placement.mesh->shape().tp,
                          " (data_parallel_shard_degree shards the frozen weights)"));
  }
  const auto layers = linear_layers(model_);
  UnitSpec unit{"adapters", {}};
  for (const std::string& name : adapted_layers(model_, config.targets)) {
    Linear& layer = *layers.at(name);
    const auto lora = std::make_shared<Lora>(layer.in_features(), layer.out_features(), config.rank, config.scale());
    layer.set_adapter(lora);
    unit.parameters.emplace_back(name + ".down", lora->down_RK);
    unit.parameters.emplace_back(name + ".up", lora->up_NR);
    adapters_.push_back(lora);
  }
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

void FluxAdapters::initialize(uint64_t seed) {
  const torch::NoGradGuard no_grad;
  for (const ParameterSlice& slice : parameters_->slices()) {
    if (!parameters_->owns(slice)) continue;
    parameters_->assign(slice, initial_lora_matrix(slice.name, slice.shape, seed, parameters_->compute().device()));
  }
  parameters_->refresh_compute();
}

void FluxAdapters::set_strength(double strength) {
  for (const auto& lora : adapters_) lora->set_strength(strength);
}

}  // namespace millrace
