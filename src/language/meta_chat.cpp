#include "language/meta_chat.h"

namespace millrace {

std::vector<int32_t> meta_dialog_prompt(std::span<const ChatMessage> messages, const Llama3Tokens& tokens) {
  std::vector<int32_t> ids = {tokens.begin_of_text};
  for (const ChatMessage& message : messages) {
    tokens.append_header(message.role == "tool" ? "ipython" : message.role, ids);
    for (const std::string& part : message.parts) tokens.tokenizer->append_plain(part, ids);
    const bool more_to_come = message.role == "assistant" && !message.eot;
    ids.push_back(more_to_come ? tokens.end_of_message : tokens.end_of_turn);
  }
  tokens.append_header("assistant", ids);
  return ids;
}

}  // namespace millrace
