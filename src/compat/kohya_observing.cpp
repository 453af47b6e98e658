// Sample pictures, the validation loss, and logs.
#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "compat/kohya_parts.h"
#include "config/number_text.h"
#include "picture_sets/sample_prompts.h"

namespace millrace {
namespace {

void prompts(const KohyaTranslator& kohya, const std::string& path) {
  const TheirSetting from = kohya.from("sample_prompts");
  std::vector<std::string> texts;
  bool has_own_options = false;
  try {
    for (const SamplePrompt& prompt : read_sample_prompts(path)) {
      texts.push_back(sample_request(prompt, path).prompt);
      has_own_options = has_own_options || prompt.values.size() > 2;  // but for the text and its number
    }
  } catch (const ConfigError& error) {
    kohya.out.problems().add_line(error.what());
    return;
  }
  if (texts.empty()) {
    kohya.out.refuse(from, "expected a prompt in " + path + ", got none");
    return;
  }
  if (has_own_options) {
    kohya.out.set("sample.prompts_file", path, from);
  } else {
    kohya.out.set("sample.prompts", texts, from);
  }
  const SampleRequest usual;
  kohya.out.set("sample.img_size", usual.width, from);
  kohya.out.set("sample.denoising_steps", usual.steps, from);
  kohya.out.set("sample.guidance_scale", usual.scale, from);
}

void samples(const KohyaTranslator& kohya) {
  const KohyaArguments& args = kohya.args;
  const auto path = args.text("sample_prompts");
  const auto steps = args.integer("sample_every_n_steps"), epochs = args.integer("sample_every_n_epochs");
  int64_t every = steps.value_or(0);
  TheirSetting from = kohya.from("sample_every_n_steps");
  if (epochs && *epochs > 0) {  // it wins in sd-scripts
    every = *epochs * kohya.steps_per_epoch();
    from = kohya.from("sample_every_n_epochs");
    if (steps) {
      kohya.out.note(kohya.from("sample_every_n_steps"), Fate::kNoEffect,
                     "there as here, --sample_every_n_epochs takes its place");
    }
  }
  const bool at_first = args.has("sample_at_first");
  if (!path) {
    if (every > 0) kohya.out.refuse(from, "expected --sample_prompts with it, got none");
    return;
  }
  if (every <= 0 && at_first) {  // before the first step; here also after the last
    const TomlValue* all = kohya.out.find("training.steps");
    every = all != nullptr ? all->integer : 0;
    from = kohya.from("sample_at_first");
  }
  if (every > 0) {
    kohya.out.set("sample.every_steps", every, from);
    prompts(kohya, *path);
    const std::string name = at_first ? "sample_at_first" : "sample_prompts";
    kohya.out.note(kohya.from(name), Fate::kBecame, "the first pictures are drawn before step 1");
  } else {
    kohya.out.note(kohya.from("sample_prompts"), Fate::kNoEffect,
                   "there as here, it counts only with --sample_every_n_steps, --sample_every_n_epochs or "
                   "--sample_at_first");
  }
}

void validation(const KohyaTranslator& kohya) {
  const KohyaArguments& args = kohya.args;
  const auto steps = args.integer("validate_every_n_steps"), epochs = args.integer("validate_every_n_epochs");
  const bool is_argument = args.number("validation_split").value_or(0) > 0;
  if (!is_argument && !kohya.around.has_validation_split) {
    for (const char* name : {"validate_every_n_steps", "validate_every_n_epochs", "max_validation_steps"}) {
      if (!args.has(name)) continue;
      kohya.out.note(kohya.from(name), Fate::kNoEffect, "there as here, it counts only with a validation_split");
    }
    return;
  }
  kohya.out.set("validation.enable", true, kohya.from(is_argument ? "validation_split" : "dataset_config"));
  const char* name = steps ? "validate_every_n_steps" : "validate_every_n_epochs";
  const int64_t every = steps ? *steps : std::max<int64_t>(1, epochs.value_or(1)) * kohya.steps_per_epoch();
  kohya.out.set("validation.freq", every, kohya.from(name));
  if (const auto most = args.integer("max_validation_steps")) {
    kohya.out.set("validation.steps", *most, kohya.from("max_validation_steps"));
  }
}

}  // namespace

void KohyaTranslator::observing() {
  samples(*this);
  validation(*this);
  const std::string tracker = args.text("log_with").value_or(args.has("logging_dir") ? "tensorboard" : "");
  const TheirSetting log_from = from(args.has("log_with") ? "log_with" : "logging_dir");
  if (tracker == "wandb") {
    out.note(log_from, Fate::kNoEffect,
             "Weights & Biases is not had; metrics.jsonl in the run's folder has every number");
  } else if (tracker == "tensorboard" || tracker == "all") {
    out.set("metrics.enable_tensorboard", true, log_from);
  } else if (!tracker.empty()) {
    out.refuse(log_from, "expected one of tensorboard, wandb, all, got " + json_escape(tracker));
  }
  if (args.has("logging_dir")) {
    out.note(from("logging_dir"), Fate::kBecame, "events are in the folder tb of the run");
  }
  out.set("metrics.log_freq", int64_t{1}, {.name = "sd-scripts", .value = "", .place = ""});
}

}  // namespace millrace
