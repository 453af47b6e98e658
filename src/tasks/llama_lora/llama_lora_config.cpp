#include "tasks/llama_lora/llama_lora_config.h"

namespace millrace {

void LlamaLoraConfig::describe(OptionCollector& visit) {
  LlamaRunConfig::describe(visit);
  visit.section("lora", "the adapters that are trained, on a frozen model (docs/llama.md)", lora_options);
}

void LlamaLoraConfig::check(Problems& problems) const {
  LlamaRunConfig::check(problems);
  if (lora_options.targets.empty()) {
    problems.add("lora.targets", "expected all, attention, q_proj and the like, or patterns of layer names, got none");
  }
}

std::unique_ptr<RunConfig> make_llama_lora_config() {
  return std::make_unique<LlamaLoraConfig>();
}

const LoraConfig* llama_lora_options(const RunConfig& config) {
  return as_llama(config).lora();
}

}  // namespace millrace
