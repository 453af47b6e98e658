// Adapters of fused layers taken apart: a pair each for q, k, v, and the MLP in linear1, as split_qkv trains them.
//
// Apart, they are of the layers "<layer>.q", "<layer>.k" and so on (lora_layout.h, kFusedParts). In files they are one
// pair of 3 or 4 times the rank, whose up projection is block-diagonal.
#pragma once

#include <string>
#include <vector>

#include "adapters/adapter_file.h"
#include "models/flux/config.h"

namespace millrace::flux {

// From whole layers to parts; other layers stay as they are. has_their_alpha: files of sd-scripts have a part's alpha
// in place of that of all, so that their scale is a third or a quarter. Throws ModelError where an up projection is not
// block-diagonal. place: the file, for messages.
std::vector<AdapterTensors> split_adapters(std::vector<AdapterTensors> whole, const FluxConfig& config,
                                           bool has_their_alpha, const std::string& place);

// From parts to the rows of their layers, as whole_adapters() puts them together; other layers stay as they are.
std::vector<AdapterTensors> placed_parts(std::vector<AdapterTensors> adapters, const FluxConfig& config);

// Gives the fused layers of a file the scale that sd-scripts' file has.
void use_their_alpha(std::vector<AdapterTensors>& whole, const FluxConfig& config);

}  // namespace millrace::flux
