// Adapters as Hugging Face's PEFT writes them: adapter_model.safetensors with adapter_config.json beside it.
#pragma once

#include <filesystem>
#include <vector>

#include "adapters/adapter_file.h"

namespace millrace {

// path: the folder or the .safetensors file. Modules are named as in the file without its "base_model.model.". LoRA,
// with rslora's scale and with rank and alpha patterns, DoRA, LoHa and LoKr. Base weights that PEFT saved as well are
// ignored and logged. Throws ModelError, naming file and tensor, for other kinds of adapters and for tensors that do
// not belong, and ConfigError for a config that cannot be read.
std::vector<AdapterTensors> read_peft_file(const std::filesystem::path& path);
// The file with the adapters' tensors, which such a path means.
std::filesystem::path peft_weights_of(const std::filesystem::path& path);

}  // namespace millrace
