// A model with the adapters of a file on its layers: they are trained, the model is frozen.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "models/model_table.h"

namespace millrace {

// The adapters' parameters, in FlatParameters of their own.
class AttachedAdapters {
 public:
  // Reads the file as the model's entry says and puts each adapter on its layer of module. placement: dtype and device
  // of the module. Throws ModelError, naming file and tensor, for what does not fit.
  AttachedAdapters(const ModelDescription& model, torch::nn::Module& module, const std::filesystem::path& file,
                   FlatParametersOptions placement);

  FlatParameters& parameters() { return *flat_; }
  TensorMap gradients() const;  // under the names in the file

 private:
  std::unique_ptr<FlatParameters> flat_;
};

}  // namespace millrace
