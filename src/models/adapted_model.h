// A model with the adapters of a file on its layers: they are trained, the model is frozen.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "models/model_table.h"

namespace millrace {

// The adapters' parameters, in FlatParameters of their own.
class AttachedAdapters {
 public:
  // Reads the file as the model's entry says and puts each adapter on its layer of module. placement: dtype and device
  // of the module. Throws ModelError, naming file and tensor, for what does not fit.
  AttachedAdapters(const ModelDescription& model, torch::nn::Module& module, const std::filesystem::path& file,
                   FlatParametersOptions placement);
  // The same of adapters that are at hand. place: for messages.
  AttachedAdapters(const LinearLayers& layers, const std::vector<AdapterTensors>& adapters, const std::string& place,
                   FlatParametersOptions placement);

  FlatParameters& parameters() { return *flat_; }
  TensorMap values() const;     // under the names in the file and shaped as there
  TensorMap gradients() const;  // the same

 private:
  TensorMap as_in_file(const torch::Tensor& flat) const;

  std::vector<AdapterParameter> attached_;
  std::unique_ptr<FlatParameters> flat_;
};

// Some linear layer of the module has an adapter.
bool is_adapted(const torch::nn::Module& module);

}  // namespace millrace
