#include "adapters/kohya_file.h"

#include "adapters/kohya_hashes.h"

namespace millrace {

void write_kohya_file(const std::filesystem::path& path, const TensorMap& tensors,
                      std::optional<torch::ScalarType> save_dtype, SafetensorsMetadata metadata) {
  TensorMap saved;  // small beside the model: all of it at once
  std::vector<TensorView> views;
  for (const auto& [name, tensor] : tensors) {
    torch::Tensor copy = tensor.detach().to(torch::kCPU);
    if (save_dtype) copy = copy.to(*save_dtype);
    views.push_back(to_view(name, saved[name] = copy.contiguous()));
  }
  const TensorBytes bytes_of = [&](size_t i) { return views[i].bytes; };
  const KohyaHashes hashes = kohya_hashes(views, bytes_of, metadata);
  metadata["sshs_model_hash"] = hashes.model_hash;
  metadata["sshs_legacy_hash"] = hashes.legacy_hash;
  write_safetensors(path, views, metadata);
}

}  // namespace millrace
