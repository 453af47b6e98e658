// Whether the tokenizer is the model's: another one's ids train a model on noise, or lie outside its vocabulary.
#pragma once

#include <cstdint>

#include "language/row_encoder.h"
#include "tasks/llama_finetune/llama_run_config.h"

namespace millrace {

// vocab_size: the model's. Throws ModelError naming the tokenizer when it has words that the model does not have, or
// lacks the token that begins or ends a text according to the model's config.json. Warns when such a token is a word of
// the tokenizer's. Special tokens beyond the model's vocabulary, such as <|image|> of Llama 3, are fine.
void check_tokenizer_fits(const LlamaRunConfig& config, const RowEncoder& encoder, int64_t vocab_size, bool warns);

}  // namespace millrace
