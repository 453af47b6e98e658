#include "tasks/llama_lora/llama_lora_config.h"

#include "adapters/lora_rates.h"
#include "base/log.h"

namespace millrace {

void LlamaLoraConfig::describe(OptionCollector& visit) {
  LlamaRunConfig::describe(visit);
  visit.section("lora", "the adapters that are trained, on a frozen model (docs/llama.md)", lora_options);
}

void LlamaLoraConfig::check(Problems& problems) const {
  LlamaRunConfig::check(problems);
  check_lora(lora_options, problems);
  check_lora_rates(lora_options, optimizer, problems);
  const LoraConfig& lora = lora_options;
  const auto refuse = [&](bool given, const char* option, const char* why) {
    if (given) problems.add(str("lora.", option), str("expected none for a language model, got one: ", why));
  };
  if (lora.kind != AdapterKind::kLora && lora.kind != AdapterKind::kDora) {
    problems.add("lora.kind", str("expected lora or dora for a language model, which PEFT's layers are, got ",
                                  choice_text(lora.kind)));
  }
  refuse(lora.dropout != 0 || lora.rank_dropout != 0 || lora.module_dropout != 0, "dropout",
         "packed rows have no samples that could leave out their own numbers");
  refuse(!lora.rank_patterns.empty(), "rank_patterns", "the adapters are written with one rank");
  const bool is_for_kohya = lora.save_dtype != "auto" || !lora.training_comment.empty() || !lora.metadata.empty();
  refuse(is_for_kohya || lora.no_metadata, "metadata",
         "save_dtype, training_comment, metadata and no_metadata belong to kohya's files");
}

std::unique_ptr<RunConfig> make_llama_lora_config() {
  return std::make_unique<LlamaLoraConfig>();
}

const LoraConfig* llama_lora_options(const RunConfig& config) {
  return as_llama(config).lora();
}

}  // namespace millrace
