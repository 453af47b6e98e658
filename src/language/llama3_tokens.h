// The ids that Llama 3's chat layouts are made of, looked up once.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "language/chat_message.h"
#include "tokenizers/byte_level_tokenizer.h"

namespace millrace {

struct Llama3Tokens {
  // Throws ModelError naming the token that the vocabulary lacks, with the hint at a template (chat_message.h).
  explicit Llama3Tokens(const ByteLevelTokenizer& tokenizer, const char* template_option = kTokenizeTemplate);
  // Whether it has them all.
  static bool in(const ByteLevelTokenizer& tokenizer);

  // <|start_header_id|> role <|end_header_id|> and an empty line.
  void append_header(std::string_view role, std::vector<int32_t>& ids) const;

  const ByteLevelTokenizer* tokenizer;
  int32_t begin_of_text, end_of_text, start_header, end_header, end_of_message, end_of_turn, python_tag;
};

}  // namespace millrace
