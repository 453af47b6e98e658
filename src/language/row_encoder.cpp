#include "language/row_encoder.h"

#include <algorithm>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "language/model_tokenizer.h"
#include "language/row_tokens.h"
#include "tokenizers/unicode.h"

namespace millrace {
namespace {

using json = nlohmann::ordered_json;

json message_of(const std::string& role, const std::string& content) {
  return {{"role", role}, {"content", content}};
}

json as_json(const std::vector<ChatMessage>& messages) {
  json list = json::array();
  // Templates know a tool's answer as that of a tool.
  for (const ChatMessage& one : messages) {
    list.push_back(message_of(one.role == "ipython" ? "tool" : one.role, one.text()));
  }
  return list;
}

// Tables of data have no lists of unlike objects: tools come as JSON in a text.
json read_if_json(const json& value) {
  if (!value.is_string() || !starts_with(value.get_ref<const std::string&>(), "[")) return value;
  json read = json::parse(value.get<std::string>(), nullptr, /*allow_exceptions=*/false);
  return read.is_discarded() ? value : read;
}

}  // namespace

RowEncoder::RowEncoder(const std::filesystem::path& tokenizer, const RowEncoderOptions& options)
    : tokenizer_(load_model_tokenizer(tokenizer)), tokenizer_path_(tokenizer), options_(options) {
  if (options.layout == ChatLayout::kTorchtune) {
    llama3_.emplace(*tokenizer_, kRunTemplate);
    return;
  }
  MILLRACE_CHECK(options.layout == ChatLayout::kTemplate);
  if (options.format.style == RowStyle::kText) return;
  ChatEncoderOptions chat;
  chat.layout = ChatLayout::kTemplate;
  chat.masking = options.format.masking;
  chat.torchtune.max_length = options.max_length;
  chat.torchtune.truncation = options.truncation;
  chat_encoder_.emplace(*tokenizer_, tokenizer, chat);
  template_ = load_chat_template(tokenizer, *tokenizer_);
}

std::string RowEncoder::identity() const {
  const RowFormat& format = options_.format;
  json columns = json::object();
  for (const auto& [name, here] : format.columns) columns[name] = here;
  json words = json::object();
  for (const auto& [role, around] : options_.prompt_template.of_role) words[role] = {around.before, around.behind};
  const json identity = {{"tokenizer", checksum_text(tokenizer_digest(tokenizer_path_))},
                         {"style", format.style},
                         {"column", format.column},
                         {"columns", columns},
                         {"new_system_prompt", format.new_system_prompt.value_or("")},
                         {"has_system_prompt", format.new_system_prompt.has_value()},
                         {"masking", format.masking},
                         {"version", format.version},
                         {"layout", options_.layout},
                         {"max_length", options_.max_length.value_or(0)},
                         {"truncation", options_.truncation},
                         {"add_eos", options_.add_eos},
                         {"shift", options_.shift},
                         {"prompt_template", words},
                         {"opens_empty_answers", options_.prompt_template.opens_empty_answers}};
  return identity.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string RowEncoder::spelling(std::span<const int32_t> ids) const {
  std::string bytes;
  for (const int32_t id : ids) bytes += tokenizer_->bytes_of(id);
  return unicode::replace_invalid_utf8(bytes);
}

TokenSample RowEncoder::encode(const json& row, const std::string& place) const {
  if (!llama3_) {
    return options_.format.style == RowStyle::kText ? encode_text(row, place) : encode_template(row, place);
  }
  RowTokenOptions options;
  options.format = options_.format;
  options.max_length = options_.max_length;
  options.truncation = options_.truncation;
  options.add_eos = options_.add_eos;
  options.shift = options_.shift;
  options.prompt_template = options_.prompt_template;
  return tokens_of_row(row, options, *llama3_, place);
}

// [bos] text [eos], with the special tokens that the vocabulary has.
TokenSample RowEncoder::encode_text(const json& row, const std::string& place) const {
  const std::string text = text_of_row(row, options_.format, place);
  const SpecialTokens& special = tokenizer_->special_tokens();
  std::vector<int32_t> ids;
  if (!text.empty()) {
    if (special.bos >= 0) ids.push_back(special.bos);
    tokenizer_->append_plain(text, ids);
    if (options_.add_eos && special.eos >= 0) ids.push_back(special.eos);
  }
  const auto limit = static_cast<size_t>(options_.max_length.value_or(INT64_MAX));
  if (ids.size() > limit) {
    if (options_.truncation == Truncation::kRight) ids.resize(limit);
    if (options_.truncation == Truncation::kLeft) ids.erase(ids.begin(), ids.end() - static_cast<ptrdiff_t>(limit));
  }
  const std::vector<bool> masked(ids.size(), false);
  return labelled(std::move(ids), masked, LabelShift::kByOne);
}

TokenSample RowEncoder::encode_template(const json& row, const std::string& place) const {
  const RowFormat& format = options_.format;
  json conversation;
  if (format.style == RowStyle::kOpenAi) {
    // The row's own messages, whose tool calls a template may know, and what else templates take.
    for (const char* key : {"tools", "documents", "date_string", "tools_in_user_message", "enable_thinking"}) {
      if (row.is_object() && row.contains(key) && !row[key].is_null()) conversation[key] = read_if_json(row[key]);
    }
    const auto mapped = format.columns.find("messages");
    const std::string name = !format.column.empty()           ? format.column
                             : mapped != format.columns.end() ? mapped->second
                                                              : "messages";
    const auto found = row.is_object() ? row.find(name) : row.end();
    if (!row.is_object() || found == row.end() || !found->is_array()) {
      throw DataError(str("[", place, "] expected a column \"", name, "\" with a list of messages, got none"));
    }
    const json messages = with_system_prompt(*found);
    conversation["messages"] = messages;
  } else {
    conversation["messages"] = as_json(messages_of_row(row, format, place));
  }
  ChatTokens chat = chat_encoder_->encode(conversation, place);
  const bool is_cut = options_.max_length && static_cast<int64_t>(chat.ids.size()) >= *options_.max_length;
  if (!is_cut && std::ranges::find(chat.masked, false) == chat.masked.end()) {
    throw DataError(str("[", place,
                        "] expected a message to train, got a conversation that masks everything (try an "
                        "assistant's answer, or finetune.train_on = \"all\")"));
  }
  return labelled(std::move(chat.ids), chat.masked, LabelShift::kByOne);
}

json RowEncoder::with_system_prompt(json messages) const {
  if (!options_.format.new_system_prompt) return messages;
  json result = json::array({message_of("system", *options_.format.new_system_prompt)});
  for (json& one : messages) {
    const auto role = one.is_object() ? one.find("role") : one.end();
    if (!one.is_object() || role == one.end() || *role != "system") result.push_back(std::move(one));
  }
  return result;
}

std::vector<int32_t> RowEncoder::prompt(const std::vector<std::string>& turns, bool from_rows) const {
  MILLRACE_CHECK(turns.size() % 2 == 1 && (has_conversations() || turns.size() == 1));
  if (!has_conversations()) {
    const SpecialTokens& special = tokenizer_->special_tokens();
    const int32_t bos = llama3_ ? llama3_->begin_of_text : special.bos;
    std::vector<int32_t> ids;
    if (bos >= 0) ids.push_back(bos);
    tokenizer_->append_plain(turns.front(), ids);
    return ids;
  }
  json messages = json::array();
  if (options_.format.new_system_prompt) messages.push_back(message_of("system", *options_.format.new_system_prompt));
  const bool is_alpaca = options_.format.style == RowStyle::kAlpaca && !from_rows;
  for (size_t i = 0; i < turns.size(); ++i) {
    const bool is_user = i % 2 == 0;
    messages.push_back(
        message_of(is_user ? "user" : "assistant", is_user && is_alpaca ? alpaca_prompt(turns[i], "") : turns[i]));
  }
  if (!llama3_) {
    return tokenizer_->encode_with_tokens(
        template_->render({{"messages", messages}}, /*add_generation_prompt=*/true, "prompt"));
  }
  std::vector<ChatMessage> chat;
  for (const json& one : messages) chat.push_back(chat_message_of(one, "prompt"));
  chat.push_back({.role = "assistant", .parts = {""}});
  PromptTemplate open = options_.prompt_template;
  open.opens_empty_answers = true;
  add_prompt_words(open, chat);
  return torchtune_chat_tokens(chat, *llama3_, {.add_end_tokens = false}).ids;
}

std::vector<int32_t> RowEncoder::stop_tokens() const {
  std::vector<int32_t> ids;
  if (tokenizer_->special_tokens().eos >= 0) ids.push_back(tokenizer_->special_tokens().eos);
  for (const char* name : {"<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>"}) {
    const std::optional<int32_t> id = tokenizer_->added_token(name);
    if (id && std::find(ids.begin(), ids.end(), *id) == ids.end()) ids.push_back(*id);
  }
  return ids;
}

}  // namespace millrace
