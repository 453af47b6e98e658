#include "compat/tune_recipes.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr const char* kNoPreferences = "preferences are not trained; full_finetune_* and lora_finetune_* are";
constexpr const char* kQuantised =
    "weights are not trained through a quantiser; lora_finetune_* with a qlora_ model trains on 4-bit weights";

constexpr std::array kRecipes = std::to_array<TuneRecipe>({
    {"full_finetune_single_device", false, false, nullptr},
    {"full_finetune_distributed", true, false, nullptr},
    {"lora_finetune_single_device", false, true, nullptr},
    {"lora_finetune_distributed", true, true, nullptr},
    {"full_dpo_distributed", true, false, kNoPreferences},
    {"lora_dpo_single_device", false, true, kNoPreferences},
    {"lora_dpo_distributed", true, true, kNoPreferences},
    {"ppo_full_finetune_single_device", false, false, kNoPreferences},
    {"qat_distributed", true, false, kQuantised},
    {"qat_single_device", false, false, kQuantised},
    {"qat_lora_finetune_distributed", true, true, kQuantised},
    {"knowledge_distillation_single_device", false, true, "there is no distillation; lora_finetune_* is had"},
    {"knowledge_distillation_distributed", true, true, "there is no distillation; lora_finetune_* is had"},
    {"generate", false, false, "`millrace sample` writes texts"},
    {"eleuther_eval", false, false,
     "`millrace evaluate` computes the validation loss; other measures need the exported weights"},
    {"quantize", false, false, "`millrace export` writes weights, also in 8 and 4 bits"},
});

// Lines of a table or a list whose own lines have the indent; those below an entry stay with it.
std::vector<std::string> sorted_lines(const std::vector<std::string>& lines, size_t indent) {
  std::vector<std::vector<std::string>> entries;
  for (const std::string& line : lines) {
    if (entries.empty() || line.find_first_not_of(' ') == indent) entries.emplace_back();
    entries.back().push_back(line);
  }
  const bool is_list = !entries.empty() && starts_with(entries.front().front().substr(indent), "- ");
  if (!is_list) std::ranges::sort(entries);
  std::vector<std::string> sorted;
  for (const std::vector<std::string>& entry : entries) {
    sorted.push_back(entry.front());
    if (entry.size() == 1) continue;
    const std::vector<std::string> below =
        sorted_lines({entry.begin() + 1, entry.end()}, entry[1].find_first_not_of(' '));
    sorted.insert(sorted.end(), below.begin(), below.end());
  }
  return sorted;
}

}  // namespace

const TuneRecipe& find_tune_recipe(const std::string& name) {
  std::string plain = ends_with(name, ".py") ? name.substr(0, name.size() - 3) : name;
  if (ends_with(name, ".py")) plain = plain.substr(plain.rfind('/') + 1);
  std::vector<std::string> known;
  for (const TuneRecipe& recipe : kRecipes) {
    if (recipe.instead == nullptr) known.emplace_back(recipe.name);
    if (plain != recipe.name) continue;
    if (recipe.instead == nullptr) return recipe;
    throw ConfigError("[" + name + "] expected a recipe that is had here, got another: " + recipe.instead);
  }
  const std::string near = nearest(plain, known);
  throw ConfigError("[" + name + "] expected one of " + join(known, ", ") + ", got another recipe" +
                    (near.empty() ? " (try millrace tune ls)" : " (try " + near + ")"));
}

std::string sorted_tune_config(const std::string& text) {
  std::vector<std::string> lines;
  for (std::string& line : split(text, '\n')) {
    const size_t first = line.find_first_not_of(' ');
    if (first != std::string::npos && line[first] != '#') lines.push_back(std::move(line));
  }
  return join(sorted_lines(lines, 0), "\n") + "\n";
}

std::string tune_list() {
  constexpr size_t kWidth = 40;
  const auto cell = [](std::string text) {
    return text + std::string(text.size() < kWidth ? kWidth - text.size() : 1, ' ');
  };
  std::string text = cell("RECIPE") + "CONFIG\n";
  for (const TuneRecipe& recipe : kRecipes) {
    if (recipe.instead != nullptr) continue;
    std::string left = recipe.name;
    for (const std::string& config : tune_config_names(recipe.name)) {
      text += cell(left) + config + "\n";
      left.clear();
    }
  }
  return text;
}

}  // namespace millrace
