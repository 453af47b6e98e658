#include "tasks/llama_finetune/llama_data_summary.h"

#include "tasks/llama_finetune/llama_data.h"

namespace millrace {

TextDataSummary summarise_llama_data(const RunConfig& config, bool is_validation) {
  const LlamaRunConfig& ours = as_llama(config);
  RowEncoderOptions options = row_encoder_options(ours);
  options.shift = LabelShift::kByOne;
  const auto encoder = std::make_shared<const RowEncoder>(ours.tokenizer_path(), options);
  std::shared_ptr<const RowEncoder> uncut = encoder;
  if (options.max_length) {
    options.max_length.reset();
    uncut = std::make_shared<const RowEncoder>(ours.tokenizer_path(), options);
  }
  const TokenSource source = is_validation ? validation_source(ours, encoder) : training_source(ours, encoder);
  ThreadPool pool(tokenising_threads(ours));
  return summarise_rows(*source.rows, *encoder, *uncut, pool);
}

}  // namespace millrace
