// A conversation as Meta's own code prompts Llama 3 with it (llama-models, ChatFormat.encode_dialog_prompt): nothing is
// stripped, the header of role tool is "ipython", and it ends with the header of the answer to come.
#pragma once

#include <span>

#include "language/chat_message.h"
#include "language/llama3_tokens.h"

namespace millrace {

// An assistant's message with ipython is a tool call of code (<|python_tag|>), one without eot ends with <|eom_id|>.
std::vector<int32_t> meta_dialog_prompt(std::span<const ChatMessage> messages, const Llama3Tokens& tokens);

}  // namespace millrace
