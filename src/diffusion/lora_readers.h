// Which other programs read which part of a run's LoRA file (docs/lora_files.md).
#pragma once

#include <string>

#include "models/flux/lora_names.h"

namespace millrace {

// What diffusers (0.32 to 0.42) does not take from kohya's naming though its own can hold it, or loses: adapters of T5,
// and those outside of the transformer's blocks (sd-scripts' in_dims). It then needs a file in its own naming.
bool needs_diffusers_file(const flux::LoraParts& parts);

// What such a file holds: all but T5's adapters.
flux::LoraParts parts_for_diffusers(flux::LoraParts parts);

// A line for people: "lora.safetensors has 13 adapters of the transformer and 12 of CLIP: ComfyUI and Forge read all,
// ...". file, diffusers_file: names to call them by.
std::string lora_readers(const flux::LoraParts& parts, const std::string& file, const std::string& diffusers_file);

}  // namespace millrace
