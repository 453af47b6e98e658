#include "language/tool_turns.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "language/python_json_text.h"

namespace millrace {
namespace {

using json = nlohmann::ordered_json;

[[noreturn]] void fail(const std::string& place, const std::string& expected, const json& got) {
  const std::string text = got.dump(-1, ' ', true, json::error_handler_t::replace);
  throw DataError(str("[", place, "] expected ", expected, ", got ", text.substr(0, 80)));
}

bool is_tool(const ChatMessage& message) {
  return message.role == "tool" || message.role == "ipython";
}

// {"function": {"name", "arguments"}}, or the inner object alone; arguments may be JSON in a text.
std::string call_text(const json& call, const std::string& place) {
  const json& function = call.is_object() && call.contains("function") ? call["function"] : call;
  if (!function.is_object() || !function.contains("name") || !function["name"].is_string()) {
    fail(place, "tool calls {\"function\": {\"name\": \"...\", \"arguments\": {...}}}", call);
  }
  json arguments = function.contains("arguments") ? function["arguments"] : json::object();
  if (arguments.is_string()) {
    arguments = json::parse(arguments.get<std::string>(), nullptr, /*allow_exceptions=*/false);
  }
  if (!arguments.is_object()) fail(place, "arguments of a tool call as a JSON object", function);
  return "{\"name\": " + python_json_text(function["name"]) + ", \"parameters\": " + python_json_text(arguments) + "}";
}

}  // namespace

std::optional<ChatMessage> tool_call_of(const json& turn, const std::string& place) {
  const auto calls = turn.is_object() ? turn.find("tool_calls") : turn.end();
  if (!turn.is_object() || calls == turn.end() || calls->is_null() || (calls->is_array() && calls->empty())) {
    return std::nullopt;
  }
  const auto role = turn.find("role"), content = turn.find("content");
  if (role == turn.end() || *role != "assistant") fail(place, "tool_calls of an assistant's message", turn);
  if (!calls->is_array()) fail(place, "tool_calls to be a list", *calls);
  ChatMessage message{.role = "assistant", .parts = {}, .ipython = true, .eot = false};
  std::vector<std::string> texts;
  for (const json& call : *calls) texts.push_back(call_text(call, place));
  if (content != turn.end() && content->is_string() && !content->get_ref<const std::string&>().empty()) {
    message.parts.push_back(content->get<std::string>() + "\n");
  }
  message.parts.push_back(join(texts, "; "));
  if (!is_valid_utf8(message.text())) fail(place, "text in UTF-8", turn);
  return message;
}

void mark_tool_turns(std::vector<ChatMessage>& messages) {
  for (size_t i = 0; i < messages.size(); ++i) {
    ChatMessage& message = messages[i];
    const bool calls_tool = message.role == "assistant" && i + 1 < messages.size() && is_tool(messages[i + 1]);
    if (calls_tool) message.ipython = true;
    if (calls_tool || is_tool(message)) message.eot = false;
  }
}

std::optional<ChatMessage> share_gpt_message(const std::string& from) {
  if (from == "system") return ChatMessage{.role = "system", .parts = {}};
  if (from == "human" || from == "user") return ChatMessage{.role = "user", .parts = {}};
  if (from == "gpt" || from == "assistant") return ChatMessage{.role = "assistant", .parts = {}};
  if (from == "function_call" || from == "tool_call") {
    return ChatMessage{.role = "assistant", .parts = {}, .ipython = true, .eot = false};
  }
  for (const char* name : {"observation", "tool", "function_response", "tool_response", "ipython"}) {
    if (from == name) return ChatMessage{.role = "ipython", .parts = {}};
  }
  return std::nullopt;
}

}  // namespace millrace
