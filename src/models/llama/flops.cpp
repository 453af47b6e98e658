#include "models/llama/flops.h"

namespace millrace::llama {

int64_t matrix_elements(const LlamaConfig& config) {
  const int64_t heads = config.num_attention_heads * config.head_dim;
  const int64_t groups = config.num_key_value_heads * config.head_dim;
  const int64_t layer =
      config.hidden_size * (2 * heads + 2 * groups) + 3 * config.hidden_size * config.intermediate_size;
  return config.num_hidden_layers * layer + config.vocab_size * config.hidden_size;
}

double train_flops(const LlamaConfig& config, double tokens, double document_length, bool frozen) {
  const double products = static_cast<double>(matrix_elements(config)) * (frozen ? 4 : 6);
  const auto width = static_cast<double>(config.num_attention_heads * config.head_dim);
  const double attention = 6 * static_cast<double>(config.num_hidden_layers) * width * document_length;
  return tokens * (products + attention);
}

}  // namespace millrace::llama
