#include "parallel/flat_model.h"

namespace millrace {

OffloadedInputs* FlatModel::start_offloading(Keep keep) {
  if (keep != Keep::kInputsOnHost) return nullptr;
  if (!offloaded_inputs_) offloaded_inputs_ = std::make_unique<OffloadedInputs>(flat_->compute().device());
  offloaded_inputs_->start_forward();
  return offloaded_inputs_.get();
}

FlatParametersOptions on_one_device(const torch::TensorOptions& options) {
  FlatParametersOptions placement;
  placement.compute_dtype = c10::typeMetaToScalarType(options.dtype());
  placement.device = options.device();
  return placement;
}

UnitSpec packed_unit(const std::string& name, const std::string& prefix, const torch::nn::Module& module) {
  UnitSpec unit{.name = name, .parameters = {}, .packed = true};
  for (const bool matrices : {true, false}) {
    for (const auto& item : module.named_parameters()) {
      if ((item.value().dim() >= 2) == matrices) unit.parameters.emplace_back(prefix + item.key(), item.value());
    }
  }
  return unit;
}

}  // namespace millrace
