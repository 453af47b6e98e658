// torchtune's recipes in our words: the options of the tasks llama_finetune and llama_lora.
#pragma once

#include <cstdint>

#include "compat/translation.h"
#include "compat/tune_file.h"
#include "compat/tune_recipes.h"

namespace millrace {

struct TuneSurroundings {
  int64_t world_size = 1;
};

// Throws ConfigError that lists every key that is unknown, of a wrong type, or cannot be had here, with file and line.
Translation translate_tune(const TuneRecipe& recipe, const TuneFile& file, const TuneSurroundings& surroundings);

}  // namespace millrace
