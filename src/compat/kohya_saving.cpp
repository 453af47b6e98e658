// LoRA files, their metadata, and checkpoints.
#include <algorithm>
#include <filesystem>
#include <system_error>

#include "adapters/lora_metadata_keys.h"
#include "base/text.h"
#include "compat/kohya_parts.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

// "512x768" of "512,768", and "512x512" of "512".
std::string model_resolution(std::string argument) {
  std::erase(argument, ' ');
  const size_t comma = argument.find(',');
  if (comma == std::string::npos) return argument + "x" + argument;
  return argument.substr(0, comma) + "x" + argument.substr(comma + 1);
}

void metadata(const KohyaTranslator& kohya) {
  std::vector<std::string> facts;
  TheirSetting from;
  for (const std::string name : kLoraMetadataKeys) {
    if (name == "optimizer") continue;
    const std::string option = name == "output_name" || name == "resolution" ? name : "metadata_" + name;
    if (!kohya.args.has(option)) continue;
    const std::string value = *kohya.args.text(option);
    facts.push_back(name + "=" + (name == "resolution" ? model_resolution(value) : value));
    from = kohya.from(option);
    kohya.out.set("lora.metadata", facts, from);
  }
  // A class without arguments is what the run writes by itself.
  const std::string optimizer = kohya.optimizer_text();
  if (optimizer.find('(') == std::string::npos && optimizer.find("Paged") == std::string::npos) return;
  facts.push_back("optimizer=" + optimizer);
  kohya.out.set("lora.metadata", facts,
                kohya.from(kohya.args.has("optimizer_args") ? "optimizer_args" : "optimizer_type"));
}

// Steps between two checkpoints, and the option that says so; 0: only one at the end.
int64_t interval(const KohyaTranslator& kohya, TheirSetting& from) {
  const KohyaArguments& args = kohya.args;
  if (const auto steps = args.integer("save_every_n_steps"); steps && *steps > 0) {
    from = kohya.from("save_every_n_steps");
    return *steps;
  }
  if (const auto epochs = args.integer("save_every_n_epochs"); epochs && *epochs > 0) {
    from = kohya.from("save_every_n_epochs");
    return *epochs * kohya.steps_per_epoch();
  }
  const auto ratio = args.integer("save_n_epoch_ratio");
  const TomlValue* steps = kohya.out.find("training.steps");
  if (ratio && *ratio > 0 && steps != nullptr) {  // so many files in all, every so many whole epochs
    from = kohya.from("save_n_epoch_ratio");
    const int64_t of_epoch = kohya.steps_per_epoch();
    const int64_t epochs = (steps->integer + of_epoch - 1) / of_epoch;
    return std::max<int64_t>(1, epochs / *ratio) * of_epoch;
  }
  return 0;
}

void resume(const KohyaTranslator& kohya) {
  const auto path = kohya.args.text("resume");
  if (!path) return;
  const TheirSetting from = kohya.from("resume");
  std::error_code ignored;
  const fs::path folder(*path);
  const fs::path run = kohya.args.text("output_dir").value_or("");
  if (fs::exists(folder / "optimizer.bin", ignored) || fs::exists(folder / "train_state.json", ignored)) {
    kohya.out.refuse(from,
                     "expected a run of millrace, got a state of sd-scripts, whose optimizer is a pickle (its "
                     "adapters can be taken: --network_weights " +
                         (folder / "model.safetensors").string() + ")");
    return;
  }
  const fs::path inside = fs::weakly_canonical(folder, ignored).lexically_relative(fs::weakly_canonical(run, ignored));
  if (inside.empty() || starts_with(inside.string(), "..")) {
    kohya.out.refuse(from,
                     "expected a checkpoint in --output_dir, got another folder (a run resumes in the folder "
                     "that it was started in: --output_dir " +
                         *path + ")");
    return;
  }
  const std::string name = inside.filename().string();
  if (starts_with(name, "step-")) {
    kohya.out.set("checkpoint.load_step", static_cast<int64_t>(std::stoll("0" + name.substr(5))), from);
  } else {
    kohya.out.note(from, Fate::kSameResult, "a run resumes from the newest checkpoint in its folder");
  }
}

void keep_latest(const KohyaTranslator& kohya, int64_t steps_between) {
  const KohyaArguments& args = kohya.args;
  int64_t keep = 0;  // all, as sd-scripts
  TheirSetting keep_from{.name = "sd-scripts", .value = "", .place = ""};
  for (const char* name :
       {"save_last_n_epochs", "save_last_n_epochs_state", "save_last_n_steps", "save_last_n_steps_state"}) {
    const auto number = args.integer(name);
    if (!number || *number < 1) continue;
    const bool counts_epochs = std::string(name).find("epochs") != std::string::npos;
    const int64_t steps = counts_epochs ? *number * kohya.steps_per_epoch() : *number;
    const int64_t of_this = std::max<int64_t>(1, (steps + steps_between - 1) / steps_between);
    keep = std::max(keep, of_this);
    keep_from = kohya.from(name);
    kohya.out.set("checkpoint.keep_latest_k", keep, keep_from);
  }
  if (keep == 0) kohya.out.set("checkpoint.keep_latest_k", keep, keep_from);
}

}  // namespace

void KohyaTranslator::saving() {
  if (const auto folder = args.text("output_dir")) {
    out.set("job.dump_folder", *folder, from("output_dir"));
  } else {
    out.refuse(from("output_dir"), "expected a folder for --output_dir, got none");
  }
  const std::string name = args.text("output_name").value_or("last");
  out.set("job.description", name, from("output_name"));
  out.note(from("output_name"), Fate::kBecame, "the LoRA file " + name + ".safetensors in the run's folder");

  const std::string precision = args.text("save_precision").value_or("float");
  if (precision == "float" || precision == "fp16" || precision == "bf16") {
    out.set("lora.save_dtype", precision == "float" ? "fp32" : precision, from("save_precision"));
  } else {
    out.refuse(from("save_precision"), "expected one of float, fp16, bf16, got " + json_escape(precision));
  }
  if (args.text("save_model_as") != "safetensors") {
    out.refuse(from("save_model_as"),
               "expected safetensors, got " + *args.text("save_model_as") + ", a pickle, which is never written here");
  }
  metadata(*this);
  if (const auto comment = args.text("training_comment")) {
    out.set("lora.training_comment", *comment, from("training_comment"));
  }
  if (args.has("no_metadata")) out.set("lora.no_metadata", true, from("no_metadata"));

  TheirSetting every;
  const int64_t steps_between = interval(*this, every);
  out.set("checkpoint.enable", true, from(args.has("save_state") ? "save_state" : "save_state_on_train_end"));
  if (args.has("save_state") && args.has("save_state_on_train_end")) {
    out.note(from("save_state_on_train_end"), Fate::kSameResult, "--save_state includes it");
  }
  const TomlValue* steps = out.find("training.steps");
  if (steps_between > 0) {
    out.set("checkpoint.interval", steps_between, every);
    keep_latest(*this, steps_between);
  } else if (steps != nullptr && steps->integer > 0) {
    out.set("checkpoint.interval", steps->integer, from("save_every_n_steps"));
  }
  resume(*this);
}

}  // namespace millrace
