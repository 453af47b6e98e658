// LoRA files' fused layers: one adapter as the model has them, one for each part (q, k, v, linear1's MLP) as diffusers
// has them. What the layers compute stays the same (adapters/adapter_rows.h, adapters/join_rows.h).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "adapters/adapter_file.h"
#include "models/flux/config.h"

namespace millrace::flux {

// One adapter of all outputs for each layer, of those that LoraParts::transformer has. Throws ModelError where those of
// its parts have no common form.
std::vector<AdapterTensors> whole_adapters(const std::vector<AdapterTensors>& transformer, const FluxConfig& config);

using AdaptersByLayer = std::map<std::string, AdapterTensors>;

// By diffusers' names of the layers, rows in their order. None where a Kronecker product cannot be taken apart: each of
// those that cannot is in `whole`, by the model's name.
std::optional<AdaptersByLayer> by_diffusers_layer(const std::vector<AdapterTensors>& transformer,
                                                  const FluxConfig& config, std::vector<std::string>& whole);

// Converts all of them to LoRA (adapters/as_lora.h) and logs a warning with the ranks that LoHa and LoKr need. Throws
// ModelError, which names the layers, if a LoRA would be no smaller than the weight, or if an adapter is DoRA. reader:
// for messages, which program takes only LoRA and why.
std::vector<AdapterTensors> all_as_lora(const std::vector<AdapterTensors>& adapters, const std::string& reader);

}  // namespace millrace::flux
