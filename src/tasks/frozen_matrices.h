// The memory of a frozen model's quantised matrices, for plans.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include <torch/nn/module.h>

#include "adapters/merge_adapter.h"
#include "models/model_table.h"
#include "nn/base_storage.h"
#include "nn/quantised_weight.h"

namespace millrace {

// A GGUF file in whose blocks the matrices stay, but for those into which lora.base_weights are merged.
struct GgufBase {
  // Throws ConfigError where there is no such file, ModelError for weights of other shapes.
  GgufBase(const char* model, const std::string& path, const ShapeMap& shapes);

  ModelWeights weights;
  AdapterMerger merged;
};

// By matrix, of all below the module. gguf: with that storage; else null.
std::map<const QuantisedWeight*, int64_t> matrix_bytes(torch::nn::Module& module, BaseStorage storage,
                                                       torch::Dtype compute_dtype, const GgufBase* gguf);
int64_t sum_of(const std::map<const QuantisedWeight*, int64_t>& bytes);

}  // namespace millrace
