// The values of matrices that are stored quantised, from a file (internal to models/).
#pragma once

#include <map>
#include <string>

#include <torch/nn/module.h>

#include "models/weights.h"
#include "parallel/flat_parameters.h"

namespace millrace {

// Reads, stores and lets go one matrix after the other. rules: of every parameter by name. Throws ModelError where the
// weights cannot be stored so, ConfigError for the blocks of a GGUF file from another file.
void load_quantised(torch::nn::Module& module, const WeightStore& store,
                    const std::map<std::string, WeightRules>& rules, const FlatParametersOptions& placement);

}  // namespace millrace
