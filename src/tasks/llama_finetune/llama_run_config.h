// The options of fine-tuning Llama-style language models, whole or by adapters.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "adapters/lora_options.h"
#include "config/run_config.h"
#include "tasks/llama_finetune/finetune_options.h"
#include "tasks/llama_finetune/llama_options.h"

namespace millrace {

struct LlamaRunConfig : RunConfig {
  LlamaModelConfig model;
  FinetuneConfig finetune;
  TextSampleConfig sample;

  LlamaRunConfig() {
    job.task = "llama_finetune";
    checkpoint.enable = true;  // what is trained is read from there
  }

  std::unique_ptr<RunConfig> clone() const override { return std::make_unique<LlamaRunConfig>(*this); }
  void describe(OptionCollector& visit) override;
  void check(Problems& problems) const override;
  // Rows, a tokenizer and a model must be named.
  void check_trainable(Problems& problems) const override;

  // Where adapters are trained on a frozen model, how; null: the whole model is trained.
  virtual const LoraConfig* lora() const { return nullptr; }
  virtual void forget_initial_adapter() {}  // adapters no longer start from a file

  // finetune.data_weights as numbers. Throws ConfigError for others than those above 0 and at most 1000.
  std::vector<double> data_weights() const;

  // The folder or file of the tokenizer. Throws ConfigError when there is none.
  std::filesystem::path tokenizer_path() const;

  bool operator==(const LlamaRunConfig&) const = default;
};

// Throws ConfigError for the configuration of another task.
LlamaRunConfig& as_llama(RunConfig& config);
const LlamaRunConfig& as_llama(const RunConfig& config);

// The options of the task at their defaults.
std::unique_ptr<RunConfig> make_llama_finetune_config();

}  // namespace millrace
