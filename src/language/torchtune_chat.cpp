#include "language/torchtune_chat.h"

#include "base/error.h"
#include "base/log.h"
#include "tokenizers/unicode.h"

namespace millrace {
namespace {

void append_message(const ChatMessage& message, const Llama3Tokens& tokens, bool add_end, std::vector<int32_t>& ids) {
  tokens.append_header(message.role, ids);
  if (message.ipython) ids.push_back(tokens.python_tag);
  for (const std::string& part : message.parts) {
    tokens.tokenizer->append_plain(unicode::python_strip(part), ids);
  }
  if (add_end) ids.push_back(message.eot ? tokens.end_of_turn : tokens.end_of_message);
}

template <typename T>
void truncate(std::vector<T>& values, size_t length, Truncation truncation) {
  if (values.size() <= length) return;
  if (truncation == Truncation::kRight) {
    values.resize(length);
  } else {
    values.erase(values.begin(), values.end() - static_cast<ptrdiff_t>(length));
  }
}

}  // namespace

ChatTokens torchtune_chat_tokens(std::span<const ChatMessage> messages, const Llama3Tokens& tokens,
                                 const TorchtuneChatOptions& options) {
  if (options.max_length && *options.max_length < 1) {
    throw ConfigError(str("[max length] expected at least 1, got ", *options.max_length));
  }
  const size_t limit = options.max_length ? static_cast<size_t>(*options.max_length) : SIZE_MAX;
  ChatTokens chat{{tokens.begin_of_text}, {true}};
  for (const ChatMessage& message : messages) {
    const bool last = &message == &messages.back();
    append_message(message, tokens, options.add_end_tokens || !last, chat.ids);
    chat.masked.resize(chat.ids.size(), message.masked);
    if (chat.ids.size() >= limit) break;
  }
  if (options.add_end_tokens) {
    chat.ids.push_back(tokens.end_of_text);
    chat.masked.push_back(true);
  }
  truncate(chat.ids, limit, options.truncation);
  truncate(chat.masked, limit, options.truncation);
  if (options.add_end_tokens) {
    chat.ids.back() = tokens.end_of_text;
    chat.masked.back() = true;
  }
  return chat;
}

void mask_messages(std::span<ChatMessage> messages, MaskingStrategy strategy, TorchtuneVersion version) {
  bool later_assistant = false;
  for (size_t i = messages.size(); i-- > 0;) {
    ChatMessage& message = messages[i];
    const bool assistant = message.role == "assistant";
    if (strategy == MaskingStrategy::kAll) {
      message.masked = message.role == "system" && version == TorchtuneVersion::kMain;
    } else if (strategy == MaskingStrategy::kAssistant) {
      message.masked = !assistant;
    } else {
      message.masked = !assistant || later_assistant;
    }
    later_assistant = later_assistant || assistant;
  }
}

}  // namespace millrace
