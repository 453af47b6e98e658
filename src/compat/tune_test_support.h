// Recipes of torchtune's, translated for tests: the shipped configurations with overrides.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "compat/golden_test_support.h"
#include "compat/tune_components.h"
#include "compat/tune_translate.h"

namespace millrace {

inline std::optional<std::string> no_environment(const std::string&) {
  return std::nullopt;
}

inline Translation translated(const std::string& recipe, const std::string& yaml,
                              const std::vector<std::string>& overrides = {}, int64_t world_size = 1) {
  const TuneFile file = parse_tune_file(yaml, "f.yaml", overrides, no_environment);
  return translate_tune(find_tune_recipe(recipe), file, {.world_size = world_size});
}
inline Translation lora(const std::vector<std::string>& overrides = {}, int64_t world_size = 1) {
  return translated("lora_finetune_distributed", *tune_config_text("llama3_3/70B_lora"), overrides, world_size);
}
inline std::string lora_problem(const std::vector<std::string>& overrides) {
  return config_problem([&] { lora(overrides); });
}

}  // namespace millrace
