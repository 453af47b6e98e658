#include "models/adapted_model.h"

#include "adapters/attach_adapters.h"
#include "base/error.h"

namespace millrace {

AttachedAdapters::AttachedAdapters(const ModelDescription& model, torch::nn::Module& module,
                                   const std::filesystem::path& file, FlatParametersOptions placement) {
  const std::vector<AdapterParameter> parameters =
      attach_adapters(model.adaptable_layers(module), model.read_adapters(file), file.string());
  UnitSpec unit{"adapters", {}};
  std::map<std::string, torch::Tensor> values;
  for (const AdapterParameter& each : parameters) {
    unit.parameters.emplace_back(each.file_name, each.parameter);
    values[each.file_name] = each.values;
  }
  placement.training = true;
  flat_ = std::make_unique<FlatParameters>(std::vector<UnitSpec>{std::move(unit)}, placement);
  flat_->assign(values);
}

TensorMap AttachedAdapters::gradients() const {
  return flat_->named_views(flat_->grad());
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
