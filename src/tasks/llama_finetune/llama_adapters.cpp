#include "tasks/llama_finetune/llama_adapters.h"

#include "adapters/layer_patterns.h"
#include "adapters/peft_file.h"
#include "base/error.h"
#include "base/text.h"
#include "models/llama/shard_plan.h"

namespace millrace {
namespace {

std::vector<std::string> patterns_of(const std::vector<std::string>& targets) {
  std::vector<std::string> patterns;
  for (const std::string& target : targets) {
    if (target == "all") {
      patterns.emplace_back("model.layers.*");
    } else if (target == "attention") {
      patterns.emplace_back("model.layers.*.self_attn.*");
    } else if (target == "lm_head") {
      patterns.push_back(target);
    } else {
      const bool is_word = is_layer_name(target) && target.find('.') == std::string::npos;
      patterns.push_back(is_word ? "model.layers.*." + target : target);
    }
  }
  return patterns;
}

std::vector<AdaptableLayer> chosen_layers(const llama::Llama& model, const LoraConfig& config) {
  const auto layers = model.linear_layers();
  std::vector<AdaptableLayer> chosen;
  for (const std::string& name : adapted_llama_layers(model, config.targets)) {
    chosen.push_back({name, layers.at(name), llama::tensor_split(model.config(), name + ".weight")});
  }
  return chosen;
}

}  // namespace

std::vector<std::string> adapted_llama_layers(const llama::Llama& model, const std::vector<std::string>& targets) {
  // By layer and in a layer as in the model; linear_layers() is sorted by text.
  std::vector<std::string> names;
  const auto layers = model.linear_layers();
  for (const auto& item : model.named_modules("", /*include_self=*/false)) {
    if (layers.contains(item.key())) names.push_back(item.key());
  }
  if (layers.contains("lm_head") && (names.empty() || names.back() != "lm_head"))
    names.emplace_back("lm_head");  // tied
  return matching_layers(names, patterns_of(targets), "lora.targets");
}

void check_can_be_merged(const LlamaRunConfig& config, const llama::LlamaConfig& sizes) {
  const LoraConfig* lora = config.lora();
  if (lora == nullptr || !config.finetune.save_merged || !sizes.tie_word_embeddings) return;
  LlamaAdapters adapters(*lora, sizes, {.device = torch::kMeta});
  for (const ParameterSlice& slice : adapters.parameters().slices()) {
    if (!starts_with(slice.name, "lm_head.")) continue;
    throw ConfigError(
        "[lora.targets] expected layers with weights of their own for finetune.save_merged, got lm_head, whose weights "
        "are the embedding's (tied): its adapter cannot be merged (try finetune.save_merged = false, in torchtune "
        "save_adapter_weights_only=true, which keeps the adapters by themselves)");
  }
}

LlamaAdapters::LlamaAdapters(const LoraConfig& config, const llama::LlamaConfig& sizes,
                             const FlatParametersOptions& placement)
    : config_(config),
      model_(sizes, frozen_placement(placement, config)),
      adapters_(config, chosen_layers(model_, config), placement) {}

TokenLoss LlamaAdapters::train(const llama::PackedTokens& tokens, const torch::Tensor& labels_T, Keep keep,
                               double scale) {
  llama::Llama::Saved saved;
  adapters_.start_input_dropout(pass_);
  {
    const UnitUse use = adapters_.forward_use(/*keep=*/true);
    model_.forward_hidden(tokens, &saved, keep);
  }
  const UnitUse use = adapters_.backward_use();
  PartialGradients shares = adapters_.partial_gradients();
  const TokenLoss loss = model_.backward_loss(saved, labels_T, scale);
  shares.finish();
  adapters_.end_input_dropout();
  return loss;
}

TokenLoss LlamaAdapters::loss(const llama::PackedTokens& tokens, const torch::Tensor& labels_T) {
  const UnitUse use = adapters_.forward_use(/*keep=*/false);
  return model_.loss(model_.forward_hidden(tokens), labels_T);
}

std::vector<int64_t> LlamaAdapters::generate(const std::vector<int64_t>& prompt,
                                             const llama::GenerateOptions& options) {
  const UnitUse use = adapters_.forward_use(/*keep=*/false);
  return llama::generate(model_, prompt, options);
}

void LlamaAdapters::initialize(uint64_t seed) {
  adapters_.initialize(seed, model_.flat_parameters());
  const std::string& file = config_.initial_adapter;
  if (!file.empty()) adapters_.start_from(initial_values(read_peft_file(file), config_, file), file);
}

}  // namespace millrace
