// `millrace prepare empty-encodings`: the encodings of the empty prompt, with which training on pre-encoded samples
// replaces dropped prompts.
#pragma once

#include <filesystem>

#include "diffusion/flux_run_config.h"

namespace millrace {

// Writes t5_empty.npy [1, T, X] and clip_empty.npy [1, V], float16 as the reference's loader expects, and a
// manifest into the folder. False: they exist already, made by the same encoders (or, if published, by unnamed
// ones). Throws ConfigError if other encoders made them.
bool write_empty_encodings(const FluxRunConfig& config, const std::filesystem::path& folder);

}  // namespace millrace
