// LoRA on a frozen decoder: the small matrices are FlatParameters of their own, the model's weights are not trained.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "adapters/lora.h"
#include "adapters/lora_options.h"
#include "tasks/llama_finetune/llama_trainee.h"

namespace millrace {

// The linear layers of the model that lora.targets chooses, in the model's order. "all": every one of the layers;
// "attention": q_proj, k_proj, v_proj and o_proj; a word without dots or stars: the layers that end in it (q_proj,
// lm_head); else patterns of whole names. Throws ConfigError for a target that matches no layer.
std::vector<std::string> adapted_llama_layers(const llama::Llama& model, const std::vector<std::string>& targets);

// Of the model under adapters that are placed so: frozen, its large matrices stored as the options say.
FlatParametersOptions frozen_placement(const LoraConfig& config, FlatParametersOptions placement);

// Two matrices per adapted layer, named <layer>.down [R, K] and <layer>.up [N, R]. On several ranks the model is
// sharded; the adapters are one unit, which is gathered for a whole pass and reduced once at its end.
class LlamaAdapters : public LlamaTrainee {
 public:
  // placement: of the adapters; model: by frozen_placement().
  LlamaAdapters(const LoraConfig& config, std::shared_ptr<llama::Llama> model, const FlatParametersOptions& placement);

  llama::Llama& model() override { return *model_; }
  FlatParameters& parameters() override { return *parameters_; }
  bool is_adapter() const override { return true; }
  TokenLoss train(const llama::PackedTokens& tokens, const torch::Tensor& labels_T, Keep keep, double scale) override;
  TokenLoss loss(const llama::PackedTokens& tokens, const torch::Tensor& labels_T) override;
  std::vector<int64_t> generate(const std::vector<int64_t>& prompt, const llama::GenerateOptions& options) override;

  // lora.initial_adapter, or values that belong to the seed alone. Throws ModelError for a file that does not fit.
  void initialize(uint64_t seed);

 private:
  void read_initial_adapter();

  LoraConfig config_;
  std::shared_ptr<llama::Llama> model_;
  std::vector<std::shared_ptr<Lora>> adapters_;
  std::unique_ptr<FlatParameters> parameters_;
};

}  // namespace millrace
