#include "tasks/llama_finetune/llama_trainee.h"

#include <nlohmann/json.hpp>

#include "adapters/configured_adapter.h"
#include "adapters/merge_adapter.h"
#include "base/error.h"
#include "base/log.h"
#include "formats/weight_store.h"
#include "models/config_reader.h"
#include "models/model_table.h"
#include "tasks/llama_finetune/llama_adapters.h"

namespace millrace {
namespace {

// model.config may name the weights that the sizes are in.
bool is_gguf(const std::filesystem::path& path) {
  return path.extension() == ".gguf";
}

llama::LlamaConfig sizes_in_weights(const std::filesystem::path& weights, const std::string& otherwise) {
  const std::optional<std::string> own = WeightStore(weights).config_json();  // of a GGUF file
  if (!own) throw ConfigError("[" + otherwise + "] expected the model's sizes, got no file (try model.config)");
  return llama::config_from_json(nlohmann::json::parse(*own), weights.string());
}

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

// The weights that training starts from, or on top of, one tensor at a time and only this rank's part; those below
// adapters with lora.base_weights merged into them, and stored as lora.base_dtype says.
void load_initial_weights(llama::Llama& model, const FlatParametersOptions& placement, const LlamaRunConfig& config) {
  const std::string& path = config.checkpoint.initial_load_path;
  const bool has_file = !config.model.config.empty() && !is_gguf(config.model.config);
  const auto sizes = has_file ? std::optional<std::filesystem::path>(config.model.config) : std::nullopt;
  const ModelWeights weights(find_model("llama"), path, sizes);
  const std::unique_ptr<ModelDescription> ours =
      find_model("llama").from_json(llama::to_hugging_face_json(model.config()), path);
  if (weights.model().shapes() != ours->shapes()) {
    throw ModelError("[" + path + "] expected weights of the sizes in model.config, got others");
  }
  AdapterMerger merger;
  FlatParametersOptions stored = placement;
  if (const LoraConfig* lora = config.lora()) {
    stored.base_storage = base_storage_of(*lora);
    const std::vector<double> multipliers = base_multipliers(*lora);
    for (size_t i = 0; i < multipliers.size(); ++i) {
      const std::string& file = lora->base_weights[i];
      merger.add(weights.model().read_adapters(file), multipliers[i]);
      log_info("merged into the weights: ", multipliers[i], " times ", file);
    }
  }
  check_merged(merger, weights);
  weights.load_into(model, stored, merging(merger));
  log_info("weights: ", path, " (", naming_name(weights.naming()), " naming)");
}

}  // namespace

llama::LlamaConfig llama_sizes(const LlamaRunConfig& config) {
  const std::filesystem::path weights = config.checkpoint.initial_load_path;
  const std::string& named = config.model.config;
  if (is_gguf(named)) return sizes_in_weights(named, named);
  if (!named.empty()) return llama::config_from_json(read_config_file(named), named);
  if (weights.empty()) {
    throw ConfigError("[model.config] expected a config.json, or weights that have one beside them, got nothing");
  }
  const std::filesystem::path beside =
      (std::filesystem::is_directory(weights) ? weights : weights.parent_path()) / "config.json";
  if (std::filesystem::is_regular_file(beside))
    return llama::config_from_json(read_config_file(beside), beside.string());
  return sizes_in_weights(weights, beside.string());
}

std::unique_ptr<LlamaTrainee> make_empty_llama_trainee(const LlamaRunConfig& config, const llama::LlamaConfig& sizes,
                                                       const FlatParametersOptions& placement) {
  if (const LoraConfig* lora = config.lora()) return std::make_unique<LlamaAdapters>(*lora, sizes, placement);
  return std::make_unique<WholeLlama>(sizes, placement);
}

std::unique_ptr<LlamaTrainee> make_llama_trainee(const LlamaRunConfig& config, const llama::LlamaConfig& sizes,
                                                 const FlatParametersOptions& placement, std::optional<uint64_t> seed) {
  const bool has_weights = !config.checkpoint.initial_load_path.empty();
  if (config.lora() != nullptr && !has_weights) {
    throw ConfigError(
        "[checkpoint.initial_load_path] expected the weights that LoRA is trained on top of, got nothing");
  }
  std::unique_ptr<LlamaTrainee> trainee = make_empty_llama_trainee(config, sizes, placement);
  if (has_weights) load_initial_weights(trainee->model(), placement, config);
  if (seed && trainee->is_adapter()) dynamic_cast<LlamaAdapters&>(*trainee).initialize(*seed);
  if (seed && !trainee->is_adapter() && !has_weights) trainee->model().initialize(*seed);
  return trainee;
}

}  // namespace millrace
