// millrace export and import: weights between namings; export also takes a run's checkpoint, and LoRA files.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>

#include "adapters/merge_adapter.h"
#include "adapters/read_adapters.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "checkpoint/run_weights.h"
#include "command_line.h"
#include "commands.h"
#include "models/flux/entry.h"
#include "models/flux/lora_convert.h"
#include "models/model_table.h"
#include "step_option.h"
#include "tasks/export_run.h"
#include "tasks/language_files.h"
#include "tasks/task_table.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

struct ConvertArguments {
  std::string source, output, model = "flux", naming, config, dtype, format, use = "best";
  int64_t step = -1;
  double max_shard_gb = 0;  // 0: not given
  // LoRA: of FLUX, but for merging
  std::string merge, extract_from;
  double strength = 1;
  int64_t rank = 0;  // 0: as it is
  bool merged = false;
};

std::optional<torch::ScalarType> parse_dtype_option(const std::string& dtype) {
  if (dtype.empty() || dtype == "q8_0") return std::nullopt;
  return dtype == "bf16" ? torch::kBFloat16 : dtype == "fp16" ? torch::kFloat16 : torch::kFloat32;
}

ExportOptions export_options(const ConvertArguments& arguments) {
  ExportOptions options;
  options.naming = arguments.naming;
  options.dtype = parse_dtype_option(arguments.dtype);
  if (arguments.max_shard_gb > 0) options.max_shard_bytes = static_cast<uint64_t>(arguments.max_shard_gb * 1e9);
  options.step = arguments.step;
  options.which = parse_which_weights(arguments.use);
  options.merged = arguments.merged;
  const bool is_gguf = arguments.format == "gguf" || ends_with(arguments.output, ".gguf");
  if (!is_gguf && arguments.dtype == "q8_0") {
    throw ConfigError("[--dtype] expected q8_0 for a GGUF file alone (try an output ending in .gguf), got another");
  }
  if (!is_gguf) return options;
  if (!ends_with(arguments.output, ".gguf") || arguments.format == "safetensors") {
    throw ConfigError("[export --format] expected gguf and an output ending in .gguf, or neither, got " +
                      arguments.output);
  }
  if (arguments.dtype == "bf16") throw ConfigError("[--dtype] expected fp32, fp16 or q8_0 for a GGUF file, got bf16");
  options.dtype = std::nullopt;
  options.gguf = arguments.dtype == "q8_0"   ? GgufStorage::kQ8_0
                 : arguments.dtype == "fp32" ? GgufStorage::kF32
                                             : GgufStorage::kF16;
  return options;
}

void convert_run(const ConvertArguments& arguments) {
  const std::unique_ptr<RunConfig> config = load_task_config(fs::path(arguments.source) / "config.toml", {});
  const std::string line = export_run(arguments.source, *config, arguments.output, export_options(arguments));
  std::printf("%s\n", line.c_str());
}

std::optional<std::filesystem::path> config_path(const ConvertArguments& arguments) {
  return arguments.config.empty() ? std::nullopt : std::optional<fs::path>(arguments.config);
}

AdapterMerger merger_of(const ConvertArguments& arguments, const ModelDescription& model) {
  AdapterMerger merger;
  if (arguments.merge.empty()) return merger;
  merge_into(merger, model, model.read_adapters(arguments.merge), arguments.strength, arguments.merge);
  return merger;
}

void convert_weights(const ConvertArguments& arguments, std::optional<Naming> preferred) {
  const ModelEntry& entry = find_model(arguments.model);
  const bool is_gguf = arguments.format == "gguf" || ends_with(arguments.output, ".gguf");
  if (is_gguf && !is_language_model(entry)) {
    throw ConfigError("[export] expected an output ending in .safetensors, or a folder, for " +
                      std::string(entry.name) + ", got GGUF, which is only written for language models");
  }
  const ModelWeights weights(entry, arguments.source, config_path(arguments));
  const Naming naming = choose_naming(arguments.naming, entry, preferred.value_or(weights.naming()));
  const AdapterMerger merger = merger_of(arguments, weights.model());
  const TensorMap shapes = weights.import_shapes();
  ExportOptions options = export_options(arguments);
  // Merging changes no shape: the files stay as they are, one for one.
  const bool keeps_files = !arguments.merge.empty() || is_language_model(entry);
  if (keeps_files && naming == weights.naming()) follow_files(arguments.source, options);
  ExportedModel exported{.model = weights.model(),
                         .shapes = shapes,
                         .read = merged_source(weights, merger),
                         .tokenizer = arguments.source};
  if (is_language_model(entry)) add_language_files(exported, {.weights = arguments.source, .config = arguments.config});
  const std::string line = export_tensors(arguments.output, naming, exported, options);
  std::printf("%s\n", line.c_str());
}

// ---- LoRA files.

flux::LoraOutput lora_output(const ConvertArguments& arguments) {
  return {arguments.output, flux::LoraNaming::kKohya, parse_dtype_option(arguments.dtype), {}};
}

std::optional<flux::LoraNaming> lora_naming(const ConvertArguments& arguments) {
  return arguments.naming.empty() ? std::nullopt : std::optional(flux::parse_lora_naming(arguments.naming));
}

void report_lora(const ConvertArguments& arguments, size_t tensors) {
  std::printf("%s: %zu tensors of a LoRA\n", arguments.output.c_str(), tensors);
}

void convert_lora_file(const ConvertArguments& arguments, const WeightStore& file) {
  const std::optional<int64_t> rank = arguments.rank ? std::optional(arguments.rank) : std::nullopt;
  report_lora(arguments, flux::convert_lora(file, lora_naming(arguments), rank, lora_output(arguments)));
}

void extract_lora_file(const ConvertArguments& arguments) {
  if (arguments.rank == 0) throw ConfigError("[--rank] expected the rank of the LoRA to extract, got none");
  const ModelEntry& entry = find_model("flux");
  const ModelWeights tuned(entry, arguments.source, config_path(arguments));
  const ModelWeights base(entry, arguments.extract_from, config_path(arguments));
  const flux::LoraParts parts = flux::extract_lora(tuned, base, arguments.rank);
  flux::LoraOutput output = lora_output(arguments);
  output.naming = lora_naming(arguments).value_or(flux::LoraNaming::kKohya);
  report_lora(arguments, flux::write_lora(parts, flux::config_of(tuned.model()), std::move(output)));
}

// Only some options go together.
void check_lora_options(const ConvertArguments& arguments, bool is_lora_file) {
  if (!arguments.merge.empty() && !arguments.extract_from.empty()) {
    throw ConfigError("[--merge] expected --merge or --extract-from, got both");
  }
  if (is_lora_file && !(arguments.merge.empty() && arguments.extract_from.empty())) {
    throw ConfigError("[" + arguments.source +
                      "] expected a model's weights for --merge and --extract-from, got a LoRA");
  }
  if (arguments.rank && !is_lora_file && arguments.extract_from.empty()) {
    throw ConfigError("[--rank] expected a LoRA file or --extract-from, got a model's weights alone");
  }
  if (arguments.strength != 1 && arguments.merge.empty()) {
    throw ConfigError("[--strength] expected --merge, got none");
  }
}

bool is_lora_file(const std::string& source) {
  return (fs::is_directory(source) || ends_with(source, ".safetensors")) && has_adapters(WeightStore(source));
}

bool read_arguments(ArgumentParser& app, ConvertArguments& arguments, const std::vector<std::string>& args) {
  app.add_option("output", arguments.output,
                 "A file ending in .safetensors, a folder (sharded with an index above the limit), or of a language "
                 "model a file ending in .gguf")
      ->required();
  app.add_option("--model", arguments.model, "flux, autoencoder, clip, t5 or llama")->capture_default_str();
  app.add_option(
      "--naming", arguments.naming,
      "bfl, diffusers, torchtitan or huggingface; of a LoRA file, also with DoRA, LoHa or LoKr: kohya, peft (a "
      "folder) or diffusers (which loads no LoHa or LoKr: they become LoRA that computes the same)");
  app.add_option("--config", arguments.config, "The model's sizes, where the source cannot tell them");
  app.add_option(
         "--dtype", arguments.dtype,
         "Convert to fp32, bf16 or fp16; by default as in the source; of a .gguf file fp32, fp16 or q8_0, fp16 by "
         "default")
      ->check(CLI::IsMember({"fp32", "bf16", "fp16", "q8_0"}));
  app.add_option("--format", arguments.format, "safetensors or gguf; by default as the output's name says")
      ->check(CLI::IsMember({"safetensors", "gguf"}));
  app.add_option("--max-shard-gb", arguments.max_shard_gb,
                 "Largest file of a folder, in 10^9 bytes; by default 5, but of a language model, and with --merge, in "
                 "the files of the weights that it came from")
      ->check(CLI::PositiveNumber);
  return parse_command_line(app, args);
}

}  // namespace

int run_export(const std::vector<std::string>& args) {
  ConvertArguments arguments;
  ArgumentParser app{
      "Writes a run's checkpoint, or weights in any naming, as safetensors in another naming; with a LoRA merged; "
      "or the LoRA that two models differ by. A LoRA file of FLUX goes to another naming or rank.",
      "millrace export"};
  app.add_option("source", arguments.source,
                 "A run's folder, weights (a file, an index json or a folder), or a LoRA file")
      ->required();
  add_step_option(app, arguments.step);
  app.add_option("--use", arguments.use,
                 "Of a run: average for the averaged weights, last for the last step's, best for average if kept")
      ->check(CLI::IsMember({"best", "average", "last"}))
      ->capture_default_str();
  app.add_option("--merge", arguments.merge, "A LoRA file to add to the weights, which keep their naming");
  app.add_flag(
      "--merged", arguments.merged,
      "Of a run that trains adapters: the whole model with them merged in, in the files of the initial weights");
  app.add_option("--strength", arguments.strength, "Of the LoRA that is merged")->capture_default_str();
  app.add_option("--extract-from", arguments.extract_from,
                 "The weights that the source was tuned from: writes the nearest LoRA of --rank to the difference");
  app.add_option("--rank", arguments.rank, "Of an extracted LoRA, or of a LoRA file: the nearest one of that rank")
      ->check(CLI::PositiveNumber);
  if (!read_arguments(app, arguments, args)) return static_cast<int>(ExitCode::kDone);
  if (arguments.merged && !is_run_folder(arguments.source)) {
    throw ConfigError("[export --merged] expected a run's folder, got " + arguments.source +
                      " (try --merge FILE for weights)");
  }
  if (is_run_folder(arguments.source)) {
    check_lora_options(arguments, false);
    if (!arguments.merge.empty() || !arguments.extract_from.empty()) {
      throw ConfigError("[" + arguments.source +
                        "] expected weights for --merge and --extract-from, got a run (try --merged, which merges its "
                        "own adapters)");
    }
    convert_run(arguments);
  } else if (is_lora_file(arguments.source)) {
    check_lora_options(arguments, true);
    convert_lora_file(arguments, WeightStore(arguments.source));
  } else {
    check_lora_options(arguments, false);
    if (!arguments.extract_from.empty()) {
      extract_lora_file(arguments);
    } else {
      convert_weights(arguments, arguments.merge.empty() ? std::optional(Naming::kDiffusers) : std::nullopt);
    }
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
