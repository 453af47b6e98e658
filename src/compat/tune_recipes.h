// What `tune ls` lists: torchtune's recipes, and configurations by torchtune's names, in our words.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace millrace {

struct TuneRecipe {
  const char* name;
  bool is_distributed;  // starts on several ranks
  bool is_lora;
  const char* instead;  // nullptr: it is had; else why not, and what there is instead
};
// Throws ConfigError for one that is not had, with what there is instead, or that is unknown, with the nearest.
// A path that ends with .py counts as the recipe of its name.
const TuneRecipe& find_tune_recipe(const std::string& name);

// The YAML of a configuration: "llama3_3/70B_lora", with the keys and values of torchtune 0.6.1; nullopt: there is none
// of this name.
std::optional<std::string> tune_config_text(const std::string& name);
// The same without comments, the keys of every table in alphabetical order.
std::string sorted_tune_config(const std::string& text);
std::vector<std::string> tune_config_names(const std::string& recipe = "");  // "": of all recipes

// Two columns: recipe, and the configurations made for it.
std::string tune_list();

}  // namespace millrace
