#include "language/row_format.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "language/tool_turns.h"

namespace millrace {
namespace {

using json = nlohmann::ordered_json;

[[noreturn]] void fail(std::string_view place, const std::string& expected, const std::string& got) {
  throw DataError(str("[", place, "] expected ", expected, ", got ", got));
}

const char* json_kind(const json& value) {
  switch (value.type()) {
    case json::value_t::null:
      return "null";
    case json::value_t::object:
      return "an object";
    case json::value_t::array:
      return "a list";
    case json::value_t::string:
      return "text";
    case json::value_t::boolean:
      return "true or false";
    default:
      return "a number";
  }
}

const json& column_of(const json& row, const std::string& name, std::string_view place) {
  if (!row.is_object()) fail(place, "rows {\"column\": ...}", json_kind(row));
  const auto found = row.find(name);
  if (found != row.end()) return *found;
  std::vector<std::string> names;
  for (const auto& [key, value] : row.items()) names.push_back(key);
  const std::string near = nearest(name, names);
  throw DataError(str("[", place, "] expected a column \"", name, "\", got ",
                      names.empty() ? "none" : join(names, ", "), near.empty() ? "" : str(" (try ", near, ")")));
}

std::string checked_text(const json& value, const std::string& what, std::string_view place) {
  if (!value.is_string()) fail(place, what + " to be text", json_kind(value));
  if (!is_valid_utf8(value.get_ref<const std::string&>())) fail(place, what + " in UTF-8", "other bytes");
  return value.get<std::string>();
}

std::string text_column(const json& row, const RowFormat& format, const std::string& key, std::string_view place) {
  const auto mapped = format.columns.find(key);
  const std::string& name = mapped == format.columns.end() ? key : mapped->second;
  return checked_text(column_of(row, name, place), "column \"" + name + "\"", place);
}

ChatMessage message(std::string role, std::string text) {
  return {.role = std::move(role), .parts = {std::move(text)}};
}

const json& conversation_of(const json& row, const RowFormat& format, const char* key, std::string_view place) {
  const auto mapped = format.columns.find(key);
  const std::string name = !format.column.empty()           ? format.column
                           : mapped != format.columns.end() ? mapped->second
                                                            : key;
  const json& list = column_of(row, name, place);
  if (!list.is_array()) fail(place, "column \"" + name + "\" to be a list of messages", json_kind(list));
  return list;
}

void read_share_gpt(const json& list, const std::string& place, std::vector<ChatMessage>& messages) {
  for (const json& turn : list) {
    const std::string here = str(place, ", message ", messages.size() + 1);
    const auto from = turn.is_object() ? turn.find("from") : turn.end();
    const auto value = turn.is_object() ? turn.find("value") : turn.end();
    if (!turn.is_object() || from == turn.end() || value == turn.end() || !from->is_string()) {
      fail(here, "{\"from\": \"human\", \"value\": \"...\"}",
           turn.dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 80));
    }
    const auto& name = from->get_ref<const std::string&>();
    std::optional<ChatMessage> read = share_gpt_message(name);
    if (!read) {
      fail(here, "\"from\" to be system, human, gpt, function_call or observation", "\"" + name.substr(0, 80) + "\"");
    }
    read->parts = {checked_text(*value, "\"value\"", here)};
    messages.push_back(std::move(*read));
  }
  mark_tool_turns(messages);
}

void read_open_ai(const json& list, const std::string& place, std::vector<ChatMessage>& messages) {
  for (const json& turn : list) {
    const std::string here = str(place, ", message ", messages.size() + 1);
    std::optional<ChatMessage> call = tool_call_of(turn, here);
    messages.push_back(call ? std::move(*call) : chat_message_of(turn, here, kRunTemplate));
  }
  mark_tool_turns(messages);
}

std::string alpaca_input(const json& row, const RowFormat& format, std::string_view place) {
  const auto mapped = format.columns.find("input");
  const std::string name = mapped == format.columns.end() ? "input" : mapped->second;
  const auto found = row.is_object() ? row.find(name) : row.end();
  if (!row.is_object() || found == row.end() || found->is_null()) return "";  // may be left out
  return checked_text(*found, "column \"" + name + "\"", place);
}

void put_system_prompt(const RowFormat& format, std::vector<ChatMessage>& messages) {
  if (!format.new_system_prompt) return;
  std::erase_if(messages, [](const ChatMessage& one) { return one.role == "system"; });
  messages.insert(messages.begin(), message("system", *format.new_system_prompt));
  messages.front().masked = true;
}

}  // namespace

std::vector<ChatMessage> messages_of_row(const json& row, const RowFormat& format, const std::string& place) {
  std::vector<ChatMessage> messages;
  switch (format.style) {
    case RowStyle::kShareGpt:
      read_share_gpt(conversation_of(row, format, "conversations", place), place, messages);
      break;
    case RowStyle::kOpenAi:
      read_open_ai(conversation_of(row, format, "messages", place), place, messages);
      break;
    case RowStyle::kInstruct:
      messages = {message("user", text_column(row, format, "input", place)),
                  message("assistant", text_column(row, format, "output", place))};
      break;
    case RowStyle::kAlpaca:
      messages = {message("user", alpaca_prompt(text_column(row, format, "instruction", place),
                                                alpaca_input(row, format, place))),
                  message("assistant", text_column(row, format, "output", place))};
      break;
    case RowStyle::kText:
      MILLRACE_CHECK(format.style != RowStyle::kText);
  }
  mask_messages(messages, format.masking, format.version);
  if (format.style != RowStyle::kAlpaca) put_system_prompt(format, messages);
  validate_messages(messages, place);
  const auto trained = [](const ChatMessage& one) { return !one.masked; };
  if (std::none_of(messages.begin(), messages.end(), trained)) {
    fail(place, "a message to train",
         "a conversation that masks everything (try an assistant's answer, or finetune.train_on = \"all\")");
  }
  return messages;
}

std::string text_of_row(const json& row, const RowFormat& format, const std::string& place) {
  const auto mapped = format.columns.find("text");
  const std::string name = !format.column.empty()           ? format.column
                           : mapped != format.columns.end() ? mapped->second
                                                            : "text";
  return checked_text(column_of(row, name, place), "column \"" + name + "\"", place);
}

// Taori et al., 2023.
std::string alpaca_prompt(const std::string& instruction, const std::string& input) {
  const std::string request =
      "Write a response that appropriately completes the request.\n\n### Instruction:\n" + instruction;
  if (input.empty()) {
    return "Below is an instruction that describes a task. " + request + "\n\n### Response:\n";
  }
  return "Below is an instruction that describes a task, paired with an input that provides further context. " +
         request + "\n\n### Input:\n" + input + "\n\n### Response:\n";
}

void validate_messages(std::span<const ChatMessage> messages, std::string_view place) {
  if (messages.size() < 2) fail(place, "at least two messages", std::to_string(messages.size()));
  const auto is_tool = [](const ChatMessage& one) { return one.role == "tool" || one.role == "ipython"; };
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string here = str(place, ", message ", i + 1);
    const ChatMessage* before = i > 0 ? &messages[i - 1] : nullptr;
    const std::string& role = messages[i].role;
    const std::string got = before != nullptr ? "it behind \"" + before->role + "\"" : "it in front";
    if (role == "system" && i > 0) fail(here, "a system message only in front", got);
    if (role == "user" && before != nullptr && before->role == "user")
      fail(here, "an answer between two user messages", got);
    if (role == "assistant" && (before == nullptr || !(before->role == "user" || is_tool(*before)))) {
      fail(here, "an assistant's message behind a user's or a tool's answer", got);
    }
    if (is_tool(messages[i]) && (before == nullptr || !(before->ipython || is_tool(*before)))) {
      fail(here, "a tool's answer behind a message that calls a tool, or another answer", got);
    }
  }
}

}  // namespace millrace
