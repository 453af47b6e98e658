// LoRA on a frozen decoder: the small matrices are FlatParameters of their own, the model's weights are not trained.
#pragma once

#include <string>
#include <vector>

#include "models/adapter_set.h"
#include "tasks/llama_finetune/llama_trainee.h"

namespace millrace {

// The linear layers of the model that lora.targets chooses, in the model's order. "all": every one of the layers;
// "attention": q_proj, k_proj, v_proj and o_proj; a word without dots or stars: the layers that end in it (q_proj,
// lm_head); else patterns of whole names. Throws ConfigError for a target that matches no layer.
std::vector<std::string> adapted_llama_layers(const llama::Llama& model, const std::vector<std::string>& targets);

// Throws ConfigError for a run that is to merge its adapters into weights and cannot: one on the output layer of a tied
// model changes that layer alone, while its weights are the embedding's, too.
void check_can_be_merged(const LlamaRunConfig& config, const llama::LlamaConfig& sizes);

class LlamaAdapters : public LlamaTrainee {
 public:
  // placement: of the adapters; the model is placed the same way, but frozen.
  LlamaAdapters(const LoraConfig& config, const llama::LlamaConfig& sizes, const FlatParametersOptions& placement);

  llama::Llama& model() override { return model_; }
  FlatParameters& parameters() override { return adapters_.parameters(); }
  bool is_adapter() const override { return true; }
  std::vector<RateGroup> rate_groups() const override { return adapters_.rate_groups(); }
  void weights_changed() override { adapters_.weights_changed(); }
  void set_pass(uint64_t pass) override { pass_ = pass; }
  TokenLoss train(const llama::PackedTokens& tokens, const torch::Tensor& labels_T, Keep keep, double scale) override;
  TokenLoss loss(const llama::PackedTokens& tokens, const torch::Tensor& labels_T) override;
  std::vector<int64_t> generate(const std::vector<int64_t>& prompt, const llama::GenerateOptions& options) override;

  // lora.initial_adapter, or values that belong to the seed alone. Throws ModelError for a file that does not fit.
  void initialize(uint64_t seed);
  size_t num_layers() const { return adapters_.num_layers(); }

 private:
  LoraConfig config_;
  llama::Llama model_;
  AdapterSet adapters_;
  uint64_t pass_ = 0;
};

}  // namespace millrace
