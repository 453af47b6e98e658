#include "language/row_tokens.h"

namespace millrace {
namespace {

TokenSample text_sample(const std::string& text, const RowTokenOptions& options, const Llama3Tokens& tokens) {
  std::vector<int32_t> ids;
  if (!text.empty()) {
    ids.push_back(tokens.begin_of_text);
    tokens.tokenizer->append_plain(text, ids);
    if (options.add_eos) ids.push_back(tokens.end_of_text);
  }
  if (options.max_length && static_cast<int64_t>(ids.size()) > *options.max_length - 1) {
    ids.resize(static_cast<size_t>(*options.max_length - 1));
  }
  const std::vector<bool> masked(ids.size(), false);
  return labelled(std::move(ids), masked, options.shift);
}

}  // namespace

TokenSample tokens_of_row(const nlohmann::ordered_json& row, const RowTokenOptions& options, const Llama3Tokens& tokens,
                          const std::string& place) {
  if (options.format.style == RowStyle::kText)
    return text_sample(text_of_row(row, options.format, place), options, tokens);
  std::vector<ChatMessage> messages = messages_of_row(row, options.format, place);
  add_prompt_words(options.prompt_template, messages);
  ChatTokens chat = torchtune_chat_tokens(
      messages, tokens, {.max_length = options.max_length, .truncation = options.truncation, .add_end_tokens = true});
  return labelled(std::move(chat.ids), chat.masked, options.shift);
}

}  // namespace millrace
