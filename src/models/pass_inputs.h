// Tensors from a file, checked against what a pass of a model takes.
#pragma once

#include <string>

#include <torch/types.h>

#include "models/model_table.h"

namespace millrace {

// The tensors that the pass takes, on the device; features in dtype, numbers in fp32. Tensors the pass does not take
// are left out. Throws DataError that names the tensor when one is missing or has another type or shape; place names
// the file.
TensorMap prepare_inputs(const ForwardPass& pass, const TensorMap& given, torch::ScalarType dtype,
                         const torch::Device& device, const std::string& place);

}  // namespace millrace
