// millrace kohya flux_train_network: sd-scripts' command line, translated, explained and run.
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "commands.h"
#include "compat/kohya_arguments.h"
#include "compat/kohya_data.h"
#include "compat/kohya_model_facts.h"
#include "compat/kohya_options.h"
#include "compat/kohya_translate.h"
#include "start_run.h"
#include "tasks/flux_lora/kohya_network.h"
#include "translated_run.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr const char* kScript = "flux_train_network";

std::string kohya_help() {
  std::string text =
      "usage: millrace kohya flux_train_network [ARGUMENTS of sd-scripts' flux_train_network.py] [--show-config]\n\n"
      "Trains a LoRA on FLUX as kohya-ss/sd-scripts would with the same arguments, or resumes: `accelerate launch\n"
      "flux_train_network.py` becomes `millrace kohya flux_train_network`, or `millrace launch -n 8 kohya ...`.\n"
      "What an argument became is printed first; one that cannot be had is refused with the reason. Arguments that\n"
      "are left out have sd-scripts' defaults, not those of `millrace train` (docs/compat.md).\n\n"
      "  --show-config        print the configuration for `millrace train` that it becomes, and stop\n"
      "  --config_file FILE   arguments from a TOML file, as in sd-scripts\n\narguments that are taken:\n";
  std::string line = " ";
  for (const KohyaOption& option : kohya_options()) {
    if (option.use == KohyaUse::kUnsupported) continue;
    const std::string word = std::string(" --") + option.name;
    if (line.size() + word.size() > 100) {
      text += line + "\n";
      line = " ";
    }
    line += word;
  }
  return text + line + "\n";
}

void check_script(const std::vector<std::string>& args) {
  if (args.empty()) throw ConfigError("[kohya] expected flux_train_network, got nothing (try millrace kohya --help)");
  std::string name = fs::path(args[0]).filename().string();
  if (ends_with(name, ".py")) name.resize(name.size() - 3);
  if (name == kScript) return;
  throw ConfigError(
      "[kohya] expected flux_train_network, got " + args[0] +
      (name == "flux_train" ? " (`millrace train` trains a whole FLUX)" : " (try millrace kohya flux_train_network)"));
}

}  // namespace

int run_kohya(const std::vector<std::string>& args) {
  const bool wants_help =
      std::any_of(args.begin(), args.end(), [](const auto& w) { return w == "--help" || w == "-h"; });
  if (wants_help) {
    std::cout << kohya_help();
    return 0;
  }
  check_script(args);
  std::vector<std::string> words(args.begin() + 1, args.end());
  const bool show_config = std::erase(words, "--show-config") + std::erase(words, "--show_config") > 0;
  const World world = detect_world();
  const KohyaArguments arguments = parse_kohya_arguments(words);
  const KohyaData data(arguments, world.size);
  KohyaSurroundings around{
      .world_size = world.size, .model = {}, .batches_per_epoch = [&] { return data.batches_per_epoch(); }};
  around.model = read_model_facts(arguments.text("pretrained_model_name_or_path").value_or(""));
  around.clip_blocks = count_encoder_blocks(arguments.text("clip_l").value_or(""));
  around.t5_blocks = count_encoder_blocks(arguments.text("t5xxl").value_or(""));
  around.batch_size = data.batch_size();
  around.has_validation_split = data.has_validation_split();
  around.dataset_path = data.path();
  around.layers =
      kohya_layers_of_flux(around.model.double_blocks, around.model.single_blocks, around.model.has_guidance);
  if (arguments.has("dim_from_weights") && arguments.has("network_weights")) {
    around.weights = read_weights_facts(*arguments.text("network_weights"));
  }
  const Translation translation = translate_kohya(arguments, around);
  const std::unique_ptr<RunConfig> config = load_translated(translation, "sd-scripts", world);
  if (!show_config) data.write();
  try {
    return start_run(*config, world, {.show_config = show_config});
  } catch (const ConfigError& error) {
    throw ConfigError(translation.in_their_words(error.what()));
  }
}

}  // namespace millrace
