// The options of LoRA on Llama-style models: those of fine-tuning, and the adapters'.
#pragma once

#include <memory>

#include "tasks/llama_finetune/llama_run_config.h"

namespace millrace {

struct LlamaLoraConfig : LlamaRunConfig {
  LoraConfig lora_options;  // [lora]

  LlamaLoraConfig() { job.task = "llama_lora"; }

  std::unique_ptr<RunConfig> clone() const override { return std::make_unique<LlamaLoraConfig>(*this); }
  void describe(OptionCollector& visit) override;
  void check(Problems& problems) const override;

  const LoraConfig* lora() const override { return &lora_options; }
  void forget_initial_adapter() override { lora_options.initial_adapter.clear(); }

  bool operator==(const LlamaLoraConfig&) const = default;
};

// The options of the task at their defaults.
std::unique_ptr<RunConfig> make_llama_lora_config();
// The adapters' options in a configuration of this task.
const LoraConfig* llama_lora_options(const RunConfig& config);

}  // namespace millrace
