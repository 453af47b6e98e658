// save_weights: one safetensors file, or a folder with the layout of Hugging Face's save_pretrained.
#include <nlohmann/json.hpp>
#include <set>

#include "base/files.h"
#include "base/text.h"
#include "formats/weight_folder.h"
#include "models/shard_layout.h"
#include "models/weights.h"

namespace millrace {
namespace {

std::string shard_name(const std::string& base_name, size_t index, size_t count) {
  if (count == 1) return base_name + ".safetensors";
  char numbers[64];
  std::snprintf(numbers, sizeof numbers, "-%05zu-of-%05zu.safetensors", index + 1, count);
  return base_name + numbers;
}

// In name order, each shard as full as possible; a tensor larger than a shard gets its own.
std::vector<TensorMap> split_into_shards(const TensorMap& tensors, uint64_t max_shard_bytes) {
  std::vector<TensorMap> shards(1);
  uint64_t bytes = 0;
  for (const auto& [name, tensor] : tensors) {
    if (bytes + tensor.nbytes() > max_shard_bytes && !shards.back().empty()) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().emplace(name, tensor);
    bytes += tensor.nbytes();
  }
  return shards;
}

void save_file(const std::filesystem::path& path, const TensorMap& tensors, const SaveWeightsOptions& options) {
  if (options.source) {
    save_tensors(path, tensors, options.metadata, options.source);
  } else {
    save_tensors(path, tensors, options.metadata);
  }
}

void save_shards(const std::filesystem::path& path, const std::map<std::string, TensorMap>& shards,
                 const SaveWeightsOptions& options) {
  create_folders(path);
  nlohmann::json weight_map = nlohmann::json::object();
  uint64_t total_bytes = 0;
  std::set<std::string> files;
  for (const auto& [name, tensors] : shards) {
    save_file(path / name, tensors, options);
    files.insert(name);
    for (const auto& [tensor_name, tensor] : tensors) {
      weight_map[tensor_name] = name;
      total_bytes += tensor.nbytes();
    }
  }
  if (shards.size() > 1) {
    const std::string index_name = options.base_name + ".safetensors.index.json";
    const nlohmann::ordered_json index = {{"metadata", {{"total_size", total_bytes}}}, {"weight_map", weight_map}};
    write_file_atomically(path / index_name, index.dump(2) + "\n");
    files.insert(index_name);
  }
  remove_stale_weights(path, options.base_name, files);
}

}  // namespace

void remove_stale_weights(const std::filesystem::path& folder, const std::string& base_name,
                          const std::set<std::string>& current) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const bool ours = name == base_name + ".safetensors" || name == base_name + ".safetensors.index.json" ||
                      (starts_with(name, base_name + "-") && ends_with(name, ".safetensors") &&
                       name.find("-of-") != std::string::npos);
    if (ours && !current.contains(name)) std::filesystem::remove(entry.path());
  }
}

void save_weights(const std::filesystem::path& path, const TensorMap& tensors, const SaveWeightsOptions& options) {
  if (path.extension() == ".safetensors") {
    save_file(path, tensors, options);
    return;
  }
  const std::vector<TensorMap> parts = split_into_shards(tensors, options.max_shard_bytes);
  std::map<std::string, TensorMap> shards;
  for (size_t i = 0; i < parts.size(); ++i) shards[shard_name(options.base_name, i, parts.size())] = parts[i];
  save_shards(path, shards, options);
}

ShardLayout shard_layout_of(const std::filesystem::path& weights) {
  std::filesystem::path index = weights;
  if (std::filesystem::is_directory(weights)) index = search_weight_folder(weights).index;
  return index.extension() == ".json" ? read_weight_map(index) : ShardLayout();
}

void save_weights_in_shards(const std::filesystem::path& folder, const TensorMap& tensors, const ShardLayout& layout,
                            const SaveWeightsOptions& options) {
  std::map<std::string, TensorMap> shards;
  for (const auto& [name, tensor] : tensors) shards[layout.at(name)].emplace(name, tensor);
  save_shards(folder, shards, options);
}

}  // namespace millrace
