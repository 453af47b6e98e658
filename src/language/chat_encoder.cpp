#include "language/chat_encoder.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "language/meta_chat.h"
#include "language/template_spans.h"

namespace millrace {
namespace {

const nlohmann::ordered_json& messages_of(const nlohmann::ordered_json& conversation, const std::string& place) {
  const auto found = conversation.is_object() ? conversation.find("messages") : conversation.end();
  if (!conversation.is_object() || found == conversation.end() || !found->is_array()) {
    throw DataError(str(
        "[", place, "] expected {\"messages\": [{\"role\": \"user\", \"content\": \"...\"}, ...]}, got other JSON"));
  }
  return *found;
}

std::vector<ChatMessage> read_messages(const nlohmann::ordered_json& list, const std::string& place) {
  std::vector<ChatMessage> messages;
  for (const auto& message : list) {
    messages.push_back(chat_message_of(message, str(place, ", message ", messages.size() + 1)));
  }
  return messages;
}

template <typename T>
void cut(std::vector<T>& values, const TorchtuneChatOptions& options) {
  const size_t limit = options.max_length ? static_cast<size_t>(*options.max_length) : SIZE_MAX;
  if (values.size() <= limit) return;
  if (options.truncation == Truncation::kRight) {
    values.resize(limit);
  } else {
    values.erase(values.begin(), values.end() - static_cast<ptrdiff_t>(limit));
  }
}

}  // namespace

ChatEncoder::ChatEncoder(const ByteLevelTokenizer& tokenizer, const std::filesystem::path& path,
                         const ChatEncoderOptions& options)
    : tokenizer_(tokenizer), options_(options) {
  if (options.layout == ChatLayout::kTemplate) {
    template_ = load_chat_template(path, tokenizer);
  } else {
    llama3_.emplace(tokenizer);
  }
}

ChatTokens ChatEncoder::encode(const nlohmann::ordered_json& conversation, const std::string& place) const {
  const auto& list = messages_of(conversation, place);
  if (options_.layout == ChatLayout::kTemplate) return encode_template(conversation, place);
  std::vector<ChatMessage> messages = read_messages(list, place);
  ChatTokens chat;
  if (options_.layout == ChatLayout::kMeta) {
    chat.ids = meta_dialog_prompt(messages, *llama3_);
    chat.masked.assign(chat.ids.size(), true);
    cut(chat.ids, options_.torchtune);
    cut(chat.masked, options_.torchtune);
    return chat;
  }
  mask_messages(messages, options_.masking, options_.version);
  return torchtune_chat_tokens(messages, *llama3_, options_.torchtune);
}

ChatTokens ChatEncoder::encode_template(const nlohmann::ordered_json& conversation, const std::string& place) const {
  RenderedChat rendered;
  if (options_.masking == MaskingStrategy::kAll) {
    rendered.text = template_->render(conversation, false, place);
    rendered.assistant = {{0, SIZE_MAX}};
  } else {
    rendered = render_with_spans(*template_, tokenizer_, conversation, place);
    const bool keeps_last = options_.masking == MaskingStrategy::kLastAssistant && !rendered.assistant.empty();
    if (keeps_last) rendered.assistant = {rendered.assistant.back()};
  }
  if (!is_valid_utf8(rendered.text)) {
    throw DataError(str("[", place, "] expected text in UTF-8, got half of a surrogate pair or other bytes"));
  }
  ChatTokens chat;
  std::vector<size_t> begins;
  chat.ids = tokenizer_.encode_with_tokens(rendered.text, &begins);
  size_t turn = 0;
  for (const size_t at : begins) {
    while (turn < rendered.assistant.size() && rendered.assistant[turn].second <= at) ++turn;
    chat.masked.push_back(turn == rendered.assistant.size() || at < rendered.assistant[turn].first);
  }
  cut(chat.ids, options_.torchtune);
  cut(chat.masked, options_.torchtune);
  return chat;
}

}  // namespace millrace
