// Sample pictures, the validation loss, and logs.
#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "compat/kohya_parts.h"
#include "config/number_text.h"
#include "picture_sets/sample_prompts.h"

namespace millrace {
namespace {

// One value that all prompts have; where they differ that of the first, and a warning.
template <typename Value, typename Get>
Value common(const KohyaTranslator& kohya, const std::vector<SampleRequest>& requests, const char* what,
             const Get& get) {
  std::set<Value> values;
  for (const SampleRequest& request : requests) values.insert(get(request));
  if (values.size() > 1) {
    kohya.out.note(kohya.from("sample_prompts"), Fate::kBecame,
                   std::string("all pictures have the first prompt's ") + what);
  }
  return get(requests.front());
}

void prompts(const KohyaTranslator& kohya, const std::string& path) {
  const TheirSetting from = kohya.from("sample_prompts");
  std::vector<SampleRequest> requests;
  std::vector<std::string> texts;
  try {
    for (const SamplePrompt& prompt : read_sample_prompts(path)) {
      requests.push_back(sample_request(prompt, path));
      texts.push_back(requests.back().prompt);
    }
  } catch (const ConfigError& error) {
    kohya.out.problems().add_line(error.what());
    return;
  }
  if (requests.empty()) {
    kohya.out.refuse(from, "expected a prompt in " + path + ", got none");
    return;
  }
  kohya.out.set("sample.prompts", texts, from);
  kohya.out.set(
      "sample.img_size",
      common<int64_t>(kohya, requests, "size", [](const SampleRequest& r) { return std::max(r.width, r.height); }),
      from);
  if (std::any_of(requests.begin(), requests.end(), [](const SampleRequest& r) { return r.width != r.height; })) {
    kohya.out.note(from, Fate::kBecame, "pictures are square, with the longer side of the first prompt");
  }
  constexpr double kDistilledGuidance = 3.5;  // of every picture that is drawn
  if (std::any_of(requests.begin(), requests.end(),
                  [&](const SampleRequest& r) { return r.guidance_scale != kDistilledGuidance; })) {
    kohya.out.note(from, Fate::kNoEffect, "--g in prompts: pictures are drawn with a distilled guidance of 3.5");
  }
  if (std::any_of(requests.begin(), requests.end(),
                  [](const SampleRequest& r) { return r.scale != 1 && !r.negative_prompt.empty(); })) {
    kohya.out.note(from, Fate::kNoEffect, "--n in prompts: pictures are guided away from the empty prompt");
  }
  kohya.out.set("sample.denoising_steps",
                common<int64_t>(kohya, requests, "--s", [](const SampleRequest& r) { return r.steps; }), from);
  kohya.out.set("sample.guidance_scale",
                common<double>(kohya, requests, "--l", [](const SampleRequest& r) { return r.scale; }), from);
  const auto seed = common<uint64_t>(kohya, requests, "--d", [](const SampleRequest& r) { return r.seed.value_or(0); });
  kohya.out.set("sample.seed", static_cast<int64_t>(seed), from);
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
  if (!path) {
    if (every > 0) kohya.out.refuse(from, "expected --sample_prompts with it, got none");
    return;
  }
  if (every > 0) {
    kohya.out.set("sample.every_steps", every, from);
    prompts(kohya, *path);
  } else {
    kohya.out.note(kohya.from("sample_prompts"), Fate::kNoEffect,
                   "there as here, it counts only with --sample_every_n_steps or --sample_every_n_epochs");
  }
  if (args.has("sample_at_first")) {
    kohya.out.note(kohya.from("sample_at_first"), Fate::kNoEffect,
                   "the first pictures come after sample.every_steps steps (millrace sample draws the model without "
                   "adapters: --lora-strength 0)");
  }
}

void validation(const KohyaTranslator& kohya) {
  const KohyaArguments& args = kohya.args;
  const auto steps = args.integer("validate_every_n_steps"), epochs = args.integer("validate_every_n_epochs");
  const bool has_split = args.number("validation_split").value_or(0) > 0;
  if (!has_split) {
    for (const char* name : {"validate_every_n_steps", "validate_every_n_epochs", "max_validation_steps"}) {
      if (!args.has(name)) continue;
      kohya.out.note(kohya.from(name), Fate::kNoEffect, "there as here, it counts only with a --validation_split");
    }
    return;
  }
  kohya.out.set("validation.enable", true, kohya.from("validation_split"));
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
