#include "tasks/llama_finetune/llama_export.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/weight_store.h"
#include "tasks/language_files.h"
#include "tasks/llama_finetune/llama_texts.h"
#include "tasks/llama_finetune/llama_trainee.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

class RunDescription : public ModelDescription {
 public:
  RunDescription(const nlohmann::json& sizes, std::string config_json)
      : model_(find_model("llama").from_json(sizes, "the run's model")), config_json_(std::move(config_json)) {}

  std::shared_ptr<torch::nn::Module> build(const FlatParametersOptions& placement) const override {
    return model_->build(placement);
  }
  WeightRules weight_rules(Naming naming, const ShapeMap& theirs) const override {
    return model_->weight_rules(naming, theirs);
  }
  std::vector<ForwardPass> passes() const override { return model_->passes(); }
  std::optional<std::string> config_json(Naming) const override { return config_json_; }

 private:
  std::unique_ptr<ModelDescription> model_;
  std::string config_json_;
};

LanguageOrigin origin_of(const LlamaRunConfig& config) {
  return {.weights = config.checkpoint.initial_load_path,
          .config = config.model.config,
          .tokenizer = config.tokenizer_path()};
}

void check_peft_output(const fs::path& output, const std::string& naming) {
  if (!naming.empty() && naming != "peft") {
    throw ConfigError("[--naming] expected peft for the adapters of a language model, got " + naming);
  }
  if (!ends_with(output.string(), ".safetensors")) return;
  throw ConfigError("[" + output.string() + "] expected a folder for PEFT's two files, got the name of a file");
}

std::string write_peft_adapters(const RunConfig& run_config, const OpenRunWeights& run, const fs::path& output,
                                const std::string& /*naming*/, const std::optional<torch::ScalarType>& dtype) {
  const LlamaRunConfig& config = as_llama(run_config);
  TensorMap ours;
  for (const auto& [name, shape] : run.shapes) {
    const torch::Tensor values = run.read(name);
    ours[name] = dtype ? values.to(*dtype) : values;
  }
  write_peft_folder(output, ours, peft_facts(config, llama_sizes(config)));
  return str(output.string(), ": ", ours.size(), " tensors of a LoRA in PEFT naming");
}

}  // namespace

std::unique_ptr<ModelDescription> describe_llama_model(const RunConfig& run_config, const TensorMap&) {
  const LlamaRunConfig& config = as_llama(run_config);
  const llama::LlamaConfig sizes = llama_sizes(config);
  const nlohmann::json json = llama::to_hugging_face_json(sizes);
  return std::make_unique<RunDescription>(json, language_config_json(origin_of(config), json.dump()));
}

fs::path llama_tokenizer(const RunConfig& run_config) {
  return as_llama(run_config).tokenizer_path();
}

fs::path llama_sizes(const RunConfig& run_config) {
  const fs::path file = as_llama(run_config).model.config;
  return file.extension() == ".gguf" ? fs::path() : file;
}

std::vector<Companion> llama_companions(const RunConfig& run_config) {
  return language_companions(origin_of(as_llama(run_config)));
}

std::optional<ExportOptions> llama_final_export(const RunConfig& run_config) {
  const LlamaRunConfig& config = as_llama(run_config);
  const bool is_merged = config.lora() != nullptr && config.finetune.save_merged;
  const bool is_whole = config.lora() == nullptr && config.finetune.save_model;
  if ((!is_merged && !is_whole) || !config.checkpoint.enable) return std::nullopt;
  ExportOptions options;
  options.merged = is_merged;
  if (is_merged) return options;  // dtype and files of the initial weights
  const std::string& weights = config.checkpoint.initial_load_path;
  if (weights.empty()) return options;
  const WeightStore store(weights);
  if (!store.tensors().empty() && store.tensors().front().dtype == DType::kBF16) options.dtype = torch::kBFloat16;
  if (!store.tensors().empty() && store.tensors().front().dtype == DType::kF16) options.dtype = torch::kFloat16;
  return options;
}

ResultNaming llama_result_naming(const RunConfig& config) {
  return as_llama(config).finetune.result_folders;
}

std::optional<int64_t> llama_last_epoch(const RunConfig& config) {
  const int64_t epochs = as_llama(config).finetune.epochs;
  return epochs > 0 ? std::optional(epochs - 1) : std::nullopt;
}

WriteAdapters llama_adapter_writer() {
  return {check_peft_output, write_peft_adapters};
}

}  // namespace millrace
