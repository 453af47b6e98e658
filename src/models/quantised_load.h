// The values of matrices that are stored quantised, from a file.
#pragma once

#include <map>
#include <string>

#include <torch/nn/module.h>

#include "models/weight_change.h"
#include "models/weights.h"
#include "nn/quantised_weight.h"
#include "parallel/flat_parameters.h"

namespace millrace {

// Reads, stores and lets go one matrix after the other: one whole matrix at most beside what is stored. Of a sharded
// model (parallel/sharded_matrices.h), whose module is a FlatModel, a rank reads those of which it holds a byte, and
// quantises them as a whole, so that they have the same bits on any number of ranks. rules: of every parameter by name.
// Throws ModelError where the weights cannot be stored so, ConfigError for the blocks of a GGUF file from another file.
// change: of matrices before they are stored; those of a GGUF file are then numbers of the compute dtype, no longer in
// its blocks.
void load_quantised(torch::nn::Module& module, const WeightStore& store,
                    const std::map<std::string, WeightRules>& rules, const FlatParametersOptions& placement,
                    const WeightChange& change = {});

// The memory of every matrix as load_quantised() stores it from a GGUF file.
std::map<const QuantisedWeight*, int64_t> bytes_in_blocks(torch::nn::Module& module, const WeightStore& store,
                                                          const std::map<std::string, WeightRules>& rules,
                                                          torch::Dtype compute_dtype, const WeightChange& change = {});
// The memory of such a matrix. Not of a GGUF file, whose blocks vary.
int64_t stored_bytes(BaseStorage storage, int64_t rows, int64_t columns);
int64_t stored_bytes(BaseStorage storage, const QuantisedWeight& weight);

}  // namespace millrace
