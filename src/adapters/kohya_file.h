// Writes a LoRA file as sd-scripts does.
#pragma once

#include <filesystem>
#include <optional>

#include "nn/tensor_io.h"

namespace millrace {

// tensors: by their names in the file, an alpha for each module. save_dtype: all of them are converted, alpha too;
// none: they are written as they are. The two hashes (kohya_hashes.h) are added to the metadata. Atomic; same tensors,
// same bytes.
void write_kohya_file(const std::filesystem::path& path, const TensorMap& tensors,
                      std::optional<torch::ScalarType> save_dtype, SafetensorsMetadata metadata);

}  // namespace millrace
