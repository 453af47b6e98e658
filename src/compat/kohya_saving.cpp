// LoRA files and checkpoints.
#include <algorithm>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>

#include "base/text.h"
#include "compat/kohya_parts.h"
#include "config/number_text.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

// How often LoRA files are written; 0: not at all.
struct Saving {
  int64_t every_steps = 0, every_epochs = 0;
  TheirSetting steps_from, epochs_from;
};

Saving saving_of(const KohyaTranslator& kohya) {
  const KohyaArguments& args = kohya.args;
  Saving saving;
  saving.every_steps = std::max<int64_t>(0, args.integer("save_every_n_steps").value_or(0));
  saving.steps_from = kohya.from("save_every_n_steps");
  saving.every_epochs = std::max<int64_t>(0, args.integer("save_every_n_epochs").value_or(0));
  saving.epochs_from = kohya.from("save_every_n_epochs");
  const auto ratio = args.integer("save_n_epoch_ratio");
  const TomlValue* steps = kohya.out.find("training.steps");
  if (ratio && *ratio > 0 && steps != nullptr) {  // so many files in all, every so many whole epochs
    const int64_t of_epoch = kohya.steps_per_epoch();
    const int64_t epochs = (steps->integer + of_epoch - 1) / of_epoch;
    saving.every_epochs = std::max<int64_t>(1, epochs / *ratio);
    saving.epochs_from = kohya.from("save_n_epoch_ratio");
  }
  return saving;
}

// The files, and checkpoints at the same steps, of which as many are kept: those from N steps before the newest on, and
// N of epochs.
void files_and_checkpoints(const KohyaTranslator& kohya, const Saving& saving) {
  Translation& out = kohya.out;
  out.set("lora.kohya_files", true, kohya.from("output_name"));
  if (const auto name = kohya.args.text("output_name")) out.set("lora.kohya_name", *name, kohya.from("output_name"));
  if (saving.every_steps == 0 && saving.every_epochs == 0) {
    const TomlValue* steps = out.find("training.steps");
    if (steps == nullptr || steps->integer < 1) return;
    out.set("checkpoint.interval", steps->integer, kohya.from("save_every_n_steps"));
    return;
  }
  const int64_t of_epochs = saving.every_epochs > 0 ? saving.every_epochs * kohya.steps_per_epoch() : 0;
  const bool by_steps = saving.every_steps > 0 && (of_epochs == 0 || saving.every_steps <= of_epochs);
  const int64_t interval = by_steps ? saving.every_steps : of_epochs;
  out.set("checkpoint.interval", interval, by_steps ? saving.steps_from : saving.epochs_from);
  int64_t keep = 0;  // all, as sd-scripts
  TheirSetting keep_from{.name = "sd-scripts", .value = "", .place = ""};
  const auto given = [&](const std::string& name) { return kohya.args.integer(name).value_or(0); };
  // For checkpoints the twin for states takes its place.
  const auto stay = [&](const std::string& name, const char* option, const auto& checkpoints_of) {
    const int64_t files = given(name), states = given(name + "_state");
    if (files > 0) out.set(option, files, kohya.from(name));
    if (files < 1 && states < 1) return;
    const int64_t checkpoints = checkpoints_of(states > 0 ? states : files);
    if (checkpoints <= keep) return;
    keep = checkpoints;
    keep_from = kohya.from(states > 0 ? name + "_state" : name);
  };
  if (saving.every_steps > 0) {
    out.set("lora.kohya_every_steps", saving.every_steps, saving.steps_from);
    stay("save_last_n_steps", "lora.kohya_last_steps", [&](int64_t steps) { return steps / interval + 1; });
  }
  if (saving.every_epochs > 0) {
    out.set("lora.kohya_every_epochs", saving.every_epochs, saving.epochs_from);
    stay("save_last_n_epochs", "lora.kohya_last_epochs",
         [&](int64_t files) { return (files * of_epochs + interval - 1) / interval; });
  }
  out.set("checkpoint.keep_latest_k", keep, keep_from);
}

// The step of "step-00000100", or of a state as sd-scripts would have named it: "cat-step00000100-state", and
// "cat-000002-state" of an epoch.
std::optional<int64_t> step_of_state(const std::string& name, const KohyaTranslator& kohya) {
  if (starts_with(name, "step-")) return parse_integer(name.substr(5));
  constexpr std::string_view kStep = "step", kEnding = "-state";
  if (!ends_with(name, kEnding)) return std::nullopt;
  const std::string state = name.substr(0, name.size() - kEnding.size());
  const size_t dash = state.rfind('-');
  if (dash == std::string::npos) return std::nullopt;
  const std::string number = state.substr(dash + 1);
  if (starts_with(number, kStep)) return parse_integer(number.substr(kStep.size()));
  const auto epoch = number.size() == 6 ? parse_integer(number) : std::nullopt;
  return epoch ? std::optional(*epoch * kohya.steps_per_epoch()) : std::nullopt;
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
  if (const auto step = step_of_state(inside.filename().string(), kohya)) {
    kohya.out.set("checkpoint.load_step", *step, from);
  } else {
    kohya.out.note(from, Fate::kSameResult, "a run resumes from the newest checkpoint in its folder");
  }
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
  metadata();
  if (const auto comment = args.text("training_comment")) {
    out.set("lora.training_comment", *comment, from("training_comment"));
  }
  if (args.has("no_metadata")) out.set("lora.no_metadata", true, from("no_metadata"));

  out.set("checkpoint.enable", true, from(args.has("save_state") ? "save_state" : "save_state_on_train_end"));
  if (args.has("save_state") && args.has("save_state_on_train_end")) {
    out.note(from("save_state_on_train_end"), Fate::kSameResult, "--save_state includes it");
  }
  files_and_checkpoints(*this, saving_of(*this));
  resume(*this);
}

}  // namespace millrace
