// `millrace prepare empty-encodings`: the encodings of the empty prompt, which training puts in the place of dropped
// ones when the samples were encoded beforehand.
#pragma once

#include <filesystem>

#include "diffusion/flux_run_config.h"

namespace millrace {

// Writes t5_empty.npy [1, T, X] and clip_empty.npy [1, V], float16 as the reference's loader expects them, and a
// manifest into the folder. False: they are there already, made by the same encoders (or, as published, without saying
// by which). Throws ConfigError where they are another's.
bool write_empty_encodings(const FluxRunConfig& config, const std::filesystem::path& folder);

}  // namespace millrace
