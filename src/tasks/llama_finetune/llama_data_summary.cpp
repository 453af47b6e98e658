#include "tasks/llama_finetune/llama_data_summary.h"

#include "tasks/llama_finetune/llama_data.h"

namespace millrace {
namespace {

TokenSource source_of(const LlamaRunConfig& config, bool is_validation) {
  auto encoder = std::make_shared<const RowEncoder>(config.tokenizer_path(), row_encoder_options(config));
  return is_validation ? validation_source(config, std::move(encoder)) : training_source(config, std::move(encoder));
}

}  // namespace

TextDataSummary summarise_llama_data(const RunConfig& config, bool is_validation) {
  const LlamaRunConfig& ours = as_llama(config);
  const TokenSource source = source_of(ours, is_validation);
  ThreadPool pool(tokenising_threads(ours));
  if (ours.finetune.max_seq_len == 0) return summarise_rows(source, source, pool);
  LlamaRunConfig unlimited = ours;
  unlimited.finetune.max_seq_len = 0;
  TokenSource uncut = source_of(unlimited, is_validation);
  uncut.rows = source.rows;  // which are then read once
  return summarise_rows(source, uncut, pool);
}

}  // namespace millrace
