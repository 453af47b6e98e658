// save_weights: one safetensors file, or a folder with the layout of Hugging Face's save_pretrained.
#include <nlohmann/json.hpp>
#include <set>

#include "base/files.h"
#include "base/text.h"
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

// Files of an earlier save under the same base name: a reader must not find two sets.
void remove_stale(const std::filesystem::path& folder, const std::string& base_name,
                  const std::set<std::string>& current) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const bool ours = name == base_name + ".safetensors" || name == base_name + ".safetensors.index.json" ||
                      (starts_with(name, base_name + "-") && ends_with(name, ".safetensors") &&
                       name.find("-of-") != std::string::npos);
    if (ours && !current.count(name)) std::filesystem::remove(entry.path());
  }
}

void save_file(const std::filesystem::path& path, const TensorMap& tensors, const SaveWeightsOptions& options) {
  if (options.source) {
    save_tensors(path, tensors, options.metadata, options.source);
  } else {
    save_tensors(path, tensors, options.metadata);
  }
}

}  // namespace

void save_weights(const std::filesystem::path& path, const TensorMap& tensors, const SaveWeightsOptions& options) {
  if (path.extension() == ".safetensors") {
    save_file(path, tensors, options);
    return;
  }
  create_folders(path);
  const std::vector<TensorMap> shards = split_into_shards(tensors, options.max_shard_bytes);
  nlohmann::ordered_json weight_map = nlohmann::ordered_json::object();
  uint64_t total_bytes = 0;
  std::set<std::string> files;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shard_name(options.base_name, i, shards.size());
    save_file(path / name, shards[i], options);
    files.insert(name);
    for (const auto& [tensor_name, tensor] : shards[i]) {
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
  remove_stale(path, options.base_name, files);
}

}  // namespace millrace
