// Conversations as torchtune lays them out for Llama 3 (Llama3Tokenizer.tokenize_messages), with its loss masks.
//
//   <|begin_of_text|> { <|start_header_id|> role <|end_header_id|> \n\n [<|python_tag|>] text (<|eot_id|> | <|eom_id|>)
//   }*
//   <|end_of_text|>
//
// Text is stripped at both ends and special tokens spelled out in it stay text. A message is trained or not as a whole,
// header and end token included; the first and the last token are never trained.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "language/chat_message.h"
#include "language/llama3_tokens.h"

namespace millrace {

enum class Truncation { kRight, kLeft };

// What differs between the last release, 0.6.1, and the development branch after it.
enum class TorchtuneVersion { kRelease, kMain };

struct TorchtuneChatOptions {
  std::optional<int64_t> max_length;  // at least 1
  Truncation truncation = Truncation::kRight;
  bool add_end_tokens = true;  // false: no <|end_of_text|>, and the last message stays open, as for inference
};

// Messages behind the one that reaches max_length are not looked at; what is kept then ends with <|end_of_text|> if end
// tokens are added. Throws DataError for text that is not UTF-8.
ChatTokens torchtune_chat_tokens(std::span<const ChatMessage> messages, const Llama3Tokens& tokens,
                                 const TorchtuneChatOptions& options);

// Which messages the loss is taken of.
enum class MaskingStrategy { kAll, kAssistant, kLastAssistant };

// Sets `masked`. System messages are always masked, but for kAll in 0.6.1, which trains them.
void mask_messages(std::span<ChatMessage> messages, MaskingStrategy strategy, TorchtuneVersion version);

}  // namespace millrace
