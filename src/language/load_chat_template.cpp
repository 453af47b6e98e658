#include "base/error.h"
#include "base/log.h"
#include "language/chat_template.h"
#include "language/llama3_tokens.h"

namespace millrace {

std::unique_ptr<ChatTemplate> load_chat_template(const std::filesystem::path& path,
                                                 const ByteLevelTokenizer& tokenizer) {
  if (Llama3Tokens::in(tokenizer)) return llama3_template();
  if (tokenizer.added_token("<|im_start|>") && tokenizer.added_token("<|im_end|>")) return chatml_template();
  throw ModelError(str("[", path.string(),
                       "] expected a chat_template in tokenizer_config.json, or the special tokens of Llama 3 "
                       "or ChatML, got neither"));
}

}  // namespace millrace
