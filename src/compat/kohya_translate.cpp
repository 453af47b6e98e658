#include "compat/kohya_translate.h"

#include <algorithm>

#include "base/text.h"
#include "compat/kohya_options.h"
#include "compat/kohya_parts.h"

namespace millrace {
namespace {

// Options that need no option of ours.
void note_rest(const KohyaTranslator& translator) {
  for (const auto& [name, value] : translator.args.given()) {
    const KohyaOption& option = *find_kohya_option(name);
    const TheirSetting from = translator.from(name);
    if (option.use == KohyaUse::kNoEffect) {
      translator.out.note(from, Fate::kNoEffect, std::string("there as here, ") + option.note);
    } else if (option.use == KohyaUse::kNoMatter) {
      translator.out.note(from, Fate::kSameResult, option.note);
    } else if (option.use == KohyaUse::kTaken && !translator.out.mentions(from)) {
      const bool is_default = from.value == option.fallback && !from.value.empty();
      translator.out.note(from, Fate::kSameResult,
                          is_default ? "it is the default" : "beside the other arguments it changes nothing");
    }
  }
  for (const auto& [name, value] : translator.args.gui_keys()) {
    translator.out.note({.name = "--" + name, .value = join(value.words, " "), .place = value.place}, Fate::kNoEffect,
                        kOfGui);
  }
}

}  // namespace

TheirSetting KohyaTranslator::from(const std::string& name) const {
  TheirSetting setting{.name = "--" + name, .value = "", .place = ""};
  const auto found = args.given().find(name);
  if (found != args.given().end()) {
    setting.value = join(found->second.words, " ");
    setting.place = found->second.place;
    if (name == "wandb_api_key") setting.value = "(not shown)";
  } else {
    const KohyaOption* option = find_kohya_option(name);
    if (option->type != KohyaType::kFlag) setting.value = *option->fallback == '\0' ? "None" : option->fallback;
  }
  return setting;
}

int64_t KohyaTranslator::steps_per_epoch() const {
  const int64_t batches = around.batches_per_epoch();
  const int64_t accumulated = std::max<int64_t>(1, args.integer("gradient_accumulation_steps").value_or(1));
  return std::max<int64_t>(1, (batches + accumulated - 1) / accumulated);
}

Translation translate_kohya(const KohyaArguments& arguments, const KohyaSurroundings& surroundings) {
  Translation translation;
  KohyaTranslator translator{arguments, surroundings, translation};
  translator.models();
  translator.data();
  translator.network();
  translator.objective();
  translator.optimizer();
  translator.schedule();
  translator.steps();
  translator.saving();
  translator.observing();
  note_rest(translator);
  translation.throw_if_refused();
  return translation;
}

}  // namespace millrace
