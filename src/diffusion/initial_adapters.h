// The values that a run's adapters take from a file: lora.initial_adapter.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "adapters/lora_options.h"
#include "models/flux/config.h"
#include "nn/tensor_io.h"

namespace millrace {

// By layer and role (adapters/adapter_kind.h), fp32, with the effect that they have in the file: where its scale is not
// the configuration's, one matrix of each adapter makes up for it. Parts of a fused layer are put together. Adapters of
// text encoders are left out with a note. Throws ModelError for adapters of another model or another kind.
std::map<std::string, TensorMap> initial_adapters(const std::filesystem::path& file, const LoraConfig& config,
                                                  const flux::FluxConfig& sizes);

}  // namespace millrace
