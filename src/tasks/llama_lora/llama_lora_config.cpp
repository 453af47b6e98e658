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
  const int64_t tp = parallelism.tensor_parallel_degree;
  if (lora.kind != AdapterKind::kLora && lora.kind != AdapterKind::kDora && tp > 1) {
    problems.add("lora.kind", str("expected lora or dora with parallelism.tensor_parallel_degree ", tp, ", got ",
                                  choice_text(lora.kind), ", whose matrices cannot be split as their layers are"));
  }
  refuse(lora.rank_dropout != 0 || lora.module_dropout != 0, "rank_dropout",
         "neither it nor module_dropout belongs to a token, and packed rows have no samples of their own");
  if (lora.kind == AdapterKind::kDora && lora.dropout != 0) {
    problems.add("lora.dropout", str("expected 0 with lora.kind = \"dora\" for a language model, got ", lora.dropout,
                                     ": DoRA scales the layer's own product too"));
  }
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
