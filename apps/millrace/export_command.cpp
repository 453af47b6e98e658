// millrace export and import: weights between namings; export also takes a run's checkpoint.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "adapters/kohya_names.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "checkpoint/run_weights.h"
#include "command_line.h"
#include "commands.h"
#include "models/model_table.h"
#include "step_option.h"
#include "tasks/task_table.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

struct ConvertArguments {
  std::string source, output, model = "flux", naming, config, dtype, use = "best";
  int64_t step = -1;
  double max_shard_gb = 5;
};

torch::Tensor convert_dtype(const torch::Tensor& tensor, const std::string& dtype) {
  if (dtype.empty()) return tensor;
  return tensor.to(dtype == "bf16" ? torch::kBFloat16 : dtype == "fp16" ? torch::kFloat16 : torch::kFloat32);
}

// One tensor in memory at a time. shapes: ours, as meta tensors; read: by our name.
void write(const ConvertArguments& arguments, Naming naming, const TensorMap& shapes, const WeightRules& rules,
           const TensorSource& read, const std::optional<std::string>& config_json) {
  std::map<std::string, const WeightRule*> rule_of;
  for (const WeightRule& rule : rules) rule_of[rule.theirs] = &rule;
  TensorMap theirs = export_weights(shapes, rules);
  for (auto& [name, tensor] : theirs) tensor = convert_dtype(tensor, arguments.dtype);
  SaveWeightsOptions options = save_options(naming);
  options.max_shard_bytes = static_cast<uint64_t>(arguments.max_shard_gb * 1e9);
  options.source = [&](const std::string& name) {
    const WeightRule& rule = *rule_of.at(name);
    const TensorMap one = export_weights({{rule.ours, read(rule.ours)}}, {rule});
    return convert_dtype(one.at(name), arguments.dtype);
  };
  save_weights(arguments.output, theirs, options);
  const bool is_folder = !ends_with(arguments.output, ".safetensors");
  if (is_folder && config_json) write_file_atomically(fs::path(arguments.output) / "config.json", *config_json);
  std::printf("%s: %zu tensors in %s naming\n", arguments.output.c_str(), theirs.size(),
              std::string(naming_name(naming)).c_str());
}

// What --naming says; without it, preferred, or the model's first naming where it does not have that one.
Naming choose_naming(const ConvertArguments& arguments, const ModelEntry& entry, Naming preferred) {
  const auto is_known = [&](Naming naming) {
    return std::find(entry.namings.begin(), entry.namings.end(), naming) != entry.namings.end();
  };
  if (arguments.naming.empty()) return is_known(preferred) ? preferred : entry.namings.front();
  const Naming naming = parse_naming(arguments.naming);
  if (is_known(naming)) return naming;
  std::vector<std::string> names;
  for (const Naming each : entry.namings) names.emplace_back(naming_name(each));
  throw ConfigError("[--naming] expected " + join(names, " or ") + " for " + entry.name + ", got " + arguments.naming);
}

// Adapters, in kohya's naming, as one file.
void write_adapters(const ConvertArguments& arguments, const LoraConfig& lora, const OpenRunWeights& run) {
  if (!ends_with(arguments.output, ".safetensors")) {
    throw ConfigError("[" + arguments.output + "] expected a file ending in .safetensors for LoRA, got another name");
  }
  TensorMap shapes, alphas = kohya_alphas(run.shapes, lora);
  std::map<std::string, std::string> ours;
  for (const auto& [name, tensor] : run.shapes) {
    ours[kohya_name(name)] = name;
    shapes[kohya_name(name)] = convert_dtype(tensor, arguments.dtype);
  }
  for (const auto& [name, alpha] : alphas) shapes[name] = alpha;
  save_tensors(arguments.output, shapes, kohya_network_metadata(lora, "flux1"), [&](const std::string& name) {
    const auto found = ours.find(name);
    return found == ours.end() ? alphas.at(name) : convert_dtype(run.read(found->second), arguments.dtype);
  });
  std::printf("%s: LoRA on %zu layers in kohya naming\n", arguments.output.c_str(), alphas.size());
}

void convert_run(const ConvertArguments& arguments) {
  const std::unique_ptr<RunConfig> config = load_task_config(fs::path(arguments.source) / "config.toml", {});
  if (const LoraConfig* lora = lora_of_task(*config)) {
    if (!arguments.naming.empty()) {
      throw ConfigError("[--naming] expected none for a run's LoRA, which is written in kohya's, got " +
                        arguments.naming);
    }
    const OpenRunWeights adapters =
        open_run_weights(arguments.source, *config, arguments.step, parse_which_weights(arguments.use));
    log_info(arguments.source, ": step ", adapters.step, adapters.averaged ? ", averaged weights" : "");
    return write_adapters(arguments, *lora, adapters);
  }
  const ModelEntry& entry = model_of_task(*config);
  const Naming naming = choose_naming(arguments, entry, entry.namings.front());
  const OpenRunWeights run =
      open_run_weights(arguments.source, *config, arguments.step, parse_which_weights(arguments.use));
  const std::unique_ptr<ModelDescription> model = describe_run_model(*config, run.shapes);
  log_info(arguments.source, ": step ", run.step, run.averaged ? ", averaged weights" : "");
  write(
      arguments, naming, run.shapes, model->weight_rules(naming, {}),
      [&](const std::string& name) { return run.read(name); }, model->config_json(naming));
}

void convert_weights(const ConvertArguments& arguments, Naming preferred) {
  const ModelEntry& entry = find_model(arguments.model);
  const ModelWeights weights(entry, arguments.source,
                             arguments.config.empty() ? std::nullopt : std::optional<fs::path>(arguments.config));
  const Naming naming = choose_naming(arguments, entry, preferred);
  const TensorMap ours = weights.import();
  TensorMap shapes;
  for (const auto& [name, tensor] : ours) shapes[name] = torch::empty_like(tensor, torch::kMeta);
  write(
      arguments, naming, shapes, weights.model().weight_rules(naming, {}),
      [&](const std::string& name) { return ours.at(name); }, weights.model().config_json(naming));
}

bool read_arguments(ArgumentParser& app, ConvertArguments& arguments, const std::vector<std::string>& args) {
  app.add_option("output", arguments.output,
                 "A file ending in .safetensors, or a folder (sharded with an index above the limit)")
      ->required();
  app.add_option("--model", arguments.model, "flux, autoencoder, clip or t5")->capture_default_str();
  app.add_option("--naming", arguments.naming, "bfl, diffusers, torchtitan or huggingface");
  app.add_option("--config", arguments.config, "The model's sizes, where the source cannot tell them");
  app.add_option("--dtype", arguments.dtype, "Convert to fp32, bf16 or fp16; by default as in the source")
      ->check(CLI::IsMember({"fp32", "bf16", "fp16"}));
  app.add_option("--max-shard-gb", arguments.max_shard_gb, "Largest file of a folder, in 10^9 bytes")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  return parse_command_line(app, args);
}

}  // namespace

int run_export(const std::vector<std::string>& args) {
  ConvertArguments arguments;
  ArgumentParser app{"Writes a run's checkpoint, or weights in any naming, as safetensors in another naming.",
                     "millrace export"};
  app.add_option("source", arguments.source, "A run's folder, or weights: a file, an index json or a folder")
      ->required();
  add_step_option(app, arguments.step);
  app.add_option("--use", arguments.use,
                 "Of a run: average for the averaged weights, last for the last step's, best for average if kept")
      ->check(CLI::IsMember({"best", "average", "last"}))
      ->capture_default_str();
  if (!read_arguments(app, arguments, args)) return static_cast<int>(ExitCode::kDone);
  if (is_run_folder(arguments.source)) {
    convert_run(arguments);
  } else {
    convert_weights(arguments, Naming::kDiffusers);
  }
  return static_cast<int>(ExitCode::kDone);
}

int run_import(const std::vector<std::string>& args) {
  ConvertArguments arguments;
  ArgumentParser app{
      "Reads weights in any naming, checks them, and writes them under our own names (BFL's; Hugging Face's for "
      "text encoders).",
      "millrace import"};
  app.add_option("source", arguments.source, "Weights: a safetensors file, an index json or a folder")->required();
  if (!read_arguments(app, arguments, args)) return static_cast<int>(ExitCode::kDone);
  convert_weights(arguments, Naming::kBfl);
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace millrace
