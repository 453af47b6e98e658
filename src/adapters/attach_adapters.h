// Puts the adapters of a file on a model's layers.
#pragma once

#include <torch/types.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "adapters/adapter_file.h"
#include "nn/linear.h"

namespace millrace {

using LinearLayers = std::map<std::string, std::shared_ptr<Linear>>;  // by name

// A parameter of an attached adapter. It has no memory yet: FlatParameters places it, then takes its values.
struct AdapterParameter {
  FileTensor in_file;
  torch::Tensor parameter;
};

// A layer takes several adapters where each is of some of its outputs (row_adapters.h). Throws ModelError, naming the
// tensor, for a layer that is not there or has an adapter already, and for tensors that do not fit. place: the file,
// for messages.
std::vector<AdapterParameter> attach_adapters(const LinearLayers& layers, const std::vector<AdapterTensors>& adapters,
                                              const std::string& place);

}  // namespace millrace
