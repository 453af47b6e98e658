#include "models/adapted_model.h"

#include <algorithm>

#include "adapters/attach_adapters.h"
#include "adapters/read_adapters.h"
#include "base/error.h"

namespace millrace {
AttachedAdapters::AttachedAdapters(const ModelDescription& model, torch::nn::Module& module,
                                   const std::filesystem::path& file, FlatParametersOptions placement)
    : AttachedAdapters(model.adaptable_layers(module), model.read_adapters(file), file.string(), placement) {}

AttachedAdapters::AttachedAdapters(const LinearLayers& layers, const std::vector<AdapterTensors>& adapters,
                                   const std::string& place, FlatParametersOptions placement)
    : attached_(attach_adapters(layers, adapters, place)) {
  UnitSpec unit{"adapters", {}};
  std::map<std::string, torch::Tensor> values;
  for (const AdapterParameter& each : attached_) {
    unit.parameters.emplace_back(each.in_file.name, each.parameter);
    values[each.in_file.name] = in_model_order(each.in_file).reshape(each.parameter.sizes());
  }
  placement.training = true;
  flat_ = std::make_unique<FlatParameters>(std::vector<UnitSpec>{std::move(unit)}, placement);
  flat_->assign(values);
}

TensorMap AttachedAdapters::values() const {
  return as_in_file(flat_->master());
}

TensorMap AttachedAdapters::gradients() const {
  return as_in_file(flat_->grad());
}

TensorMap AttachedAdapters::as_in_file(const torch::Tensor& flat) const {
  TensorMap tensors = flat_->named_views(flat);
  for (const AdapterParameter& each : attached_) {
    const auto& [name, values, swaps_halves] = each.in_file;
    torch::Tensor& tensor = tensors.at(name);
    tensor = in_model_order({name, tensor, swaps_halves}).reshape(values.sizes());  // which is its own inverse
  }
  return tensors;
}

bool is_adapted(const torch::nn::Module& module) {
  const auto modules = module.modules(/*include_self=*/false);
  return std::any_of(modules.begin(), modules.end(), [](const std::shared_ptr<torch::nn::Module>& each) {
    const auto* layer = dynamic_cast<const Linear*>(each.get());
    return layer && layer->adapter();
  });
}

LinearLayers ModelDescription::adaptable_layers(torch::nn::Module& module) const {
  LinearLayers layers;
  for (const auto& item : module.named_modules("", /*include_self=*/false)) {
    if (const auto layer = std::dynamic_pointer_cast<Linear>(item.value())) layers[item.key()] = layer;
  }
  return layers;
}

std::vector<AdapterTensors> ModelDescription::read_adapters(const std::filesystem::path& file) const {
  throw ConfigError("[--lora] expected no adapters for this model, got " + file.string());
}

}  // namespace millrace
