// The values of matrices that are stored quantised, from a file.
#pragma once

#include <functional>
#include <map>
#include <string>

#include <torch/nn/module.h>

#include "models/weights.h"
#include "nn/quantised_weight.h"
#include "parallel/flat_parameters.h"

namespace millrace {

// Reads, stores and lets go one matrix after the other: one whole matrix at most beside what is stored. Of a sharded
// model (parallel/sharded_matrices.h), whose module is a FlatModel, a rank reads those of which it holds a byte, and
// quantises them as a whole, so that they have the same bits on any number of ranks. rules: of every parameter by name.
// Throws ModelError where the weights cannot be stored so, ConfigError for the blocks of a GGUF file from another file.
// changed: what becomes of each matrix before it is stored, by our name; the blocks of a GGUF file stay as they are.
using WeightChange = std::function<torch::Tensor(const std::string& name, const torch::Tensor& weight)>;
void load_quantised(torch::nn::Module& module, const WeightStore& store,
                    const std::map<std::string, WeightRules>& rules, const FlatParametersOptions& placement,
                    const WeightChange& changed = {});

// The memory of such a matrix. Not of a GGUF file, whose blocks vary.
int64_t stored_bytes(BaseStorage storage, int64_t rows, int64_t columns);
int64_t stored_bytes(BaseStorage storage, const QuantisedWeight& weight);
// Of all below the module.
int64_t stored_bytes(BaseStorage storage, torch::nn::Module& module);

}  // namespace millrace
