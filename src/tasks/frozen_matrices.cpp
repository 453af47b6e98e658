#include "tasks/frozen_matrices.h"

#include <filesystem>
#include <numeric>
#include <system_error>

#include "base/error.h"
#include "models/quantised_load.h"

namespace millrace {
namespace {

ModelWeights opened(const char* model, const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_regular_file(path, ignored)) return {find_model(model), path};
  throw ConfigError(
      "[lora.base_dtype] expected another than gguf for a plan without the GGUF file, which says how large its blocks "
      "are, got gguf (try checkpoint.initial_load_path, or nf4 for a file of 4 bits)");
}

}  // namespace

GgufBase::GgufBase(const char* model, const std::string& path, const ShapeMap& shapes) : weights(opened(model, path)) {
  if (weights.model().shapes() == shapes) return;
  throw ModelError("[" + path + "] expected weights of the sizes that the configuration has, got others");
}

std::map<const QuantisedWeight*, int64_t> matrix_bytes(torch::nn::Module& module, BaseStorage storage,
                                                       torch::Dtype compute_dtype, const GgufBase* gguf) {
  if (gguf != nullptr) return gguf->weights.bytes_in_blocks(module, compute_dtype, merging(gguf->merged));
  std::map<const QuantisedWeight*, int64_t> bytes;
  for (const auto& [name, weight] : quantised_weights(module)) bytes[weight] = stored_bytes(storage, *weight);
  return bytes;
}

int64_t sum_of(const std::map<const QuantisedWeight*, int64_t>& bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), int64_t{0},
                         [](int64_t sum, const auto& matrix) { return sum + matrix.second; });
}

}  // namespace millrace
