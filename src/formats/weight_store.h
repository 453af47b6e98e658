// Weights in one safetensors or GGUF file, in several safetensors files with an index, or in a folder.
//
// A folder is searched in Hugging Face's order: model.safetensors, model.safetensors.index.json,
// diffusion_pytorch_model.safetensors, diffusion_pytorch_model.safetensors.index.json; then a single other
// *.safetensors.index.json; then all *.safetensors files together; then a single *.gguf file.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf.h"
#include "formats/safetensors.h"

namespace millrace {

// Prefix of the names of an image model's transformer in files of ComfyUI and others, which may also hold its text
// encoders and autoencoder.
constexpr const char* kTransformerPrefix = "model.diffusion_model.";

class WeightStore {
 public:
  // Throws ModelError for files that are missing, damaged, inconsistent with their index, or pickles (.pt, .pth,
  // .ckpt, .bin, or by their first bytes: such files run code when read, so they are never opened).
  explicit WeightStore(const std::filesystem::path& path);

  // For files that hold several models: if any names begin with prefix, keeps only these tensors and strips the prefix;
  // otherwise changes nothing. Throws ModelError when a tensor occurs with and without the prefix.
  void narrow_to(std::string_view prefix);

  const std::vector<TensorView>& tensors() const { return tensors_; }  // file after file, each in file order
  const TensorView* find(std::string_view name) const;                 // nullptr when there is none
  // The config.json that follows from a GGUF file's own keys; nothing where a file has none.
  const std::optional<std::string>& config_json() const { return config_json_; }
  // Metadata of all files together; the first file wins.
  const SafetensorsMetadata& metadata() const { return metadata_; }

  const std::filesystem::path& path() const { return path_; }
  // The folder of the files, where their config.json would be.
  const std::filesystem::path& folder() const { return folder_; }
  std::vector<std::filesystem::path> files() const;
  const std::filesystem::path& file_of(std::string_view name) const;  // of a tensor that is there
  // The maps of all files: keeps the views' bytes valid after the store is gone.
  std::shared_ptr<const void> keep_alive() const { return files_; }

 private:
  struct Files {
    std::vector<SafetensorsFile> safetensors;
    std::vector<GgufFile> gguf;
  };
  void open_index(const std::filesystem::path& path);
  void open_folder(const std::filesystem::path& path);
  void open_gguf(const std::filesystem::path& path);
  void add_tensor(const TensorView& tensor, const std::filesystem::path& path);
  void open_file(const std::filesystem::path& path, const std::function<bool(const std::string&)>& wanted);

  std::filesystem::path path_;
  std::filesystem::path folder_;
  std::shared_ptr<Files> files_ = std::make_shared<Files>();
  std::vector<TensorView> tensors_;
  std::map<std::string, size_t, std::less<>> index_by_name_;
  std::map<std::string, std::filesystem::path, std::less<>> file_by_name_;
  SafetensorsMetadata metadata_;
  std::optional<std::string> config_json_;
};

}  // namespace millrace
