// Tensors from a file, checked against the inputs of a model's pass.
#pragma once

#include <string>

#include <torch/types.h>

#include "models/model_table.h"

namespace millrace {

// The inputs of the pass, on the device; features in dtype, numbers in fp32. Other tensors are left out. Throws
// DataError that names the tensor when one is missing or has another type or shape; place names
// the file.
TensorMap prepare_inputs(const ForwardPass& pass, const TensorMap& given, torch::ScalarType dtype,
                         const torch::Device& device, const std::string& place);

}  // namespace millrace
