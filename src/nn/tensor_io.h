// Tensors to and from safetensors files.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include <torch/types.h>

#include "formats/safetensors.h"

namespace millrace {

using TensorMap = std::map<std::string, torch::Tensor>;

torch::ScalarType to_scalar_type(DType dtype);
// Throws ModelError for a type that files cannot hold (complex, quantised, ...); what: the tensor's name.
DType to_dtype(torch::ScalarType type, const std::string& what);

// A CPU tensor on the view's own bytes, without a copy when they are aligned to the element, else (and for BOOL) a
// copy. Quantised blocks become fp32, interleaved heads are put in order, both by copying. The bytes must outlive the
// tensor, which holds keep_alive (SafetensorsFile::keep_alive(), WeightStore::keep_alive()). Mapped files are
// read-only memory: never write into such a tensor, clone() it first.
torch::Tensor to_tensor(const TensorView& view, std::shared_ptr<const void> keep_alive = nullptr);

// The view of a contiguous CPU tensor's own bytes, valid as long as the tensor.
TensorView to_view(const std::string& name, const torch::Tensor& tensor);

// Every tensor of a file, an index json or a folder (see WeightStore), in memory of its own.
TensorMap load_tensors(const std::filesystem::path& path);

// Writes atomically; the same tensors give the same bytes. Tensors may be strided and on any device; copies, if needed,
// are made one at a time.
void save_tensors(const std::filesystem::path& path, const TensorMap& tensors,
                  const SafetensorsMetadata& metadata = {});

// Makes a tensor when it is about to be written.
using TensorSource = std::function<torch::Tensor(const std::string& name)>;
// The same for tensors that do not fit into memory: `tensors` only provide shapes and dtypes (they may be meta
// tensors); source(name) is called once for each.
void save_tensors(const std::filesystem::path& path, const TensorMap& tensors, const SafetensorsMetadata& metadata,
                  const TensorSource& source);

}  // namespace millrace
