#include "tasks/llama_finetune/llama_trainee.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "formats/weight_store.h"
#include "models/config_reader.h"
#include "models/model_table.h"
#include "tasks/llama_finetune/llama_adapters.h"

namespace millrace {
namespace {

TokenLoss train_model(llama::Llama& model, const llama::PackedTokens& tokens, const torch::Tensor& labels_T, Keep keep,
                      double scale) {
  llama::Llama::Saved saved;
  model.forward_hidden(tokens, &saved, keep);
  return model.backward_loss(saved, labels_T, scale);
}

class WholeLlama : public LlamaTrainee {
 public:
  WholeLlama(const llama::LlamaConfig& sizes, const FlatParametersOptions& placement) : model_(sizes, placement) {}

  llama::Llama& model() override { return model_; }
  FlatParameters& parameters() override { return model_.flat_parameters(); }
  TokenLoss train(const llama::PackedTokens& tokens, const torch::Tensor& labels_T, Keep keep, double scale) override {
    return train_model(model_, tokens, labels_T, keep, scale);
  }
  TokenLoss loss(const llama::PackedTokens& tokens, const torch::Tensor& labels_T) override {
    return model_.loss(model_.forward_hidden(tokens), labels_T);
  }
  std::vector<int64_t> generate(const std::vector<int64_t>& prompt, const llama::GenerateOptions& options) override {
    return llama::generate(model_, prompt, options);
  }

 private:
  llama::Llama model_;
};

ModelWeights initial_weights(const LlamaRunConfig& config) {
  const std::string& path = config.checkpoint.initial_load_path;
  ModelWeights weights(
      find_model("llama"), path,
      config.model.config.empty() ? std::nullopt : std::optional<std::filesystem::path>(config.model.config));
  log_info("weights: ", path, " (", naming_name(weights.naming()), " naming)");
  return weights;
}

// One tensor at a time, and only this rank's part.
void load_weights(FlatParameters& parameters, const ModelWeights& weights) {
  for (const ParameterSlice& slice : parameters.slices()) {
    if (!parameters.owns(slice)) continue;
    parameters.assign(slice, weights.import(slice.name));
    weights.release(slice.name);
  }
  parameters.refresh_compute();
}

}  // namespace

llama::LlamaConfig llama_sizes(const LlamaRunConfig& config) {
  const std::filesystem::path weights = config.checkpoint.initial_load_path;
  if (!config.model.config.empty())
    return llama::config_from_json(read_config_file(config.model.config), config.model.config);
  if (weights.empty()) {
    throw ConfigError("[model.config] expected a config.json, or weights that have one beside them, got nothing");
  }
  const std::filesystem::path beside =
      (std::filesystem::is_directory(weights) ? weights : weights.parent_path()) / "config.json";
  if (std::filesystem::is_regular_file(beside))
    return llama::config_from_json(read_config_file(beside), beside.string());
  const std::optional<std::string> own = WeightStore(weights).config_json();  // of a GGUF file
  if (!own) throw ConfigError("[" + beside.string() + "] expected the model's sizes, got no file (try model.config)");
  return llama::config_from_json(nlohmann::json::parse(*own), weights.string());
}

std::unique_ptr<LlamaTrainee> make_empty_llama_trainee(const LlamaRunConfig& config, const llama::LlamaConfig& sizes,
                                                       const FlatParametersOptions& placement) {
  if (const LoraConfig* lora = config.lora()) {
    auto model = std::make_shared<llama::Llama>(sizes, frozen_placement(*lora, placement));
    return std::make_unique<LlamaAdapters>(*lora, std::move(model), placement);
  }
  return std::make_unique<WholeLlama>(sizes, placement);
}

std::unique_ptr<LlamaTrainee> make_llama_trainee(const LlamaRunConfig& config, const llama::LlamaConfig& sizes,
                                                 const FlatParametersOptions& placement, std::optional<uint64_t> seed) {
  const bool has_weights = !config.checkpoint.initial_load_path.empty();
  if (config.lora() != nullptr && !has_weights) {
    throw ConfigError(
        "[checkpoint.initial_load_path] expected the weights that LoRA is trained on top of, got nothing");
  }
  if (const LoraConfig* lora = config.lora()) {
    auto model =
        std::dynamic_pointer_cast<llama::Llama>(initial_weights(config).load(frozen_placement(*lora, placement)));
    auto adapters = std::make_unique<LlamaAdapters>(*lora, std::move(model), placement);
    if (seed) adapters->initialize(*seed);
    return adapters;
  }
  auto whole = std::make_unique<WholeLlama>(sizes, placement);
  if (has_weights) load_weights(whole->parameters(), initial_weights(config));
  if (seed && !has_weights) whole->model().initialize(*seed);
  return whole;
}

}  // namespace millrace
