// What a file of FLUX's transformer says about its sizes, by its header alone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compat/kohya_layers.h"

namespace millrace {

struct KohyaModelFacts {
  bool is_known = false;       // false: no file was looked at, and FLUX.1-dev is assumed
  bool has_guidance = true;    // FLUX.1-dev; schnell has none
  int64_t double_blocks = 19;  // pruned models have fewer
  int64_t single_blocks = 38;
  // Options of [model] for sizes that are not FLUX.1's: {"model.hidden_size", 64}.
  std::vector<std::pair<std::string, int64_t>> sizes;
};

// A safetensors file, or a folder of them, in Black Forest Labs' or diffusers' naming. Not there: FLUX.1-dev's facts,
// is_known false. Throws ModelError for files that hold something else.
KohyaModelFacts read_model_facts(const std::filesystem::path& path);

// How many blocks the text encoder in these weights has, CLIP or T5; none: they are not there, or of something else.
std::optional<int64_t> count_encoder_blocks(const std::filesystem::path& path);

// A LoRA file in kohya's naming.
struct KohyaWeightsFacts {
  std::map<std::string, KohyaModule> modules;  // by name: "lora_unet_single_blocks_0_linear1"; an alpha that is not
                                               // there is the rank
  int64_t rank = 0;                            // that most of them have
  double alpha = 0;                            // likewise
};
// Throws ModelError for a file without such adapters.
KohyaWeightsFacts read_weights_facts(const std::filesystem::path& path);

}  // namespace millrace
