#include "compat/tune_translate.h"

#include "base/text.h"
#include "compat/tune_parts.h"

namespace millrace {
namespace {

// Keys at the top that nothing reads: variables of the file's own are fine, a misspelled key is not.
void check_rest(const TuneTranslator& tune) {
  for (const std::string& key : tune.root.unknown()) {
    const TheirSetting from = tune.root.from(key);
    const std::string near = nearest(key, {tune.root.asked().begin(), tune.root.asked().end()});
    if (tune.file.variables.contains(key)) {
      tune.out.note(from, Fate::kSameResult, "a word for other keys of the file");
    } else if (!near.empty()) {
      tune.out.refuse(from, "expected a known key, got " + key + " (try " + near + ")");
    } else {
      tune.out.note(from, Fate::kNoEffect, "no recipe reads this key");
    }
  }
}

}  // namespace

const TuneComponent* TuneTranslator::component(TuneTable& table, TuneRole role) const {
  try {
    const std::string name = table.component();
    return &find_tune_component(
        name, role,
        table.from("_component_").place.empty() ? table.path() + "._component_" : table.from("_component_").place);
  } catch (const ConfigError& error) {
    out.problems().add_line(error.what());
    return nullptr;
  }
}

Translation translate_tune(const TuneRecipe& recipe, const TuneFile& file, const TuneSurroundings& surroundings) {
  Translation translation;
  TuneTranslator translator{recipe, file, surroundings, translation, TuneTable(&file.root, "", file, translation)};
  translation.set("model.name", "llama", {.name = recipe.name, .value = "", .place = ""});
  translation.set("job.task", recipe.is_lora ? "llama_lora" : "llama_finetune",
                  {.name = recipe.name, .value = "", .place = ""});
  translator.model();
  translator.weights();
  translator.data();
  translator.batches();
  translator.updates();
  translator.memory();
  translator.observing();
  check_rest(translator);
  translation.throw_if_refused();
  return translation;
}

}  // namespace millrace
