// What Meta's template for Llama 3.1 to 3.3 writes. There is always a system turn, with the dates in front; tools are
// shown in the first user message or the system turn; a tool call is one JSON object; tool results go through JSON as
// well, so that a string comes out quoted.
#include "base/error.h"
#include "base/log.h"
#include "language/chat_message.h"
#include "language/chat_template.h"
#include "language/python_json_text.h"
#include "tokenizers/unicode.h"

namespace millrace {
namespace {

using json = nlohmann::ordered_json;

constexpr const char* kAnswerFormat =
    "Respond in the format {\"name\": function name, \"parameters\": dictionary of argument name and its value}."
    "Do not use variables.\n\n";

const json* find(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string header(const std::string& role) {
  return "<|start_header_id|>" + role + "<|end_header_id|>\n\n";
}

std::string stripped(const std::string& text) {
  return std::string(unicode::python_strip(text));
}

class Llama3Template : public ChatTemplate {
 public:
  std::string render(const json& arguments, bool add_generation_prompt, const std::string& place) const override {
    const auto& messages = arguments.at("messages");
    const json* tools = find(arguments, "tools");
    const json* date = find(arguments, "date_string");
    const json* in_user = find(arguments, "tools_in_user_message");
    const bool tools_in_user = tools != nullptr && (in_user == nullptr || *in_user == true);
    for (const auto& [key, value] : arguments.items()) check_argument(key, value, place);

    size_t next = 0;
    const auto message_at = [&](size_t i) { return chat_message_of(messages[i], str(place, ", message ", i + 1)); };
    std::string text = "<|begin_of_text|>" + header("system");
    if (tools != nullptr) text += "Environment: ipython\n";
    text += "Cutting Knowledge Date: December 2023\nToday Date: ";
    text += (date != nullptr ? date->get<std::string>() : "26 Jul 2024") + "\n\n";
    if (tools != nullptr && !tools_in_user) {
      text +=
          "You have access to the following functions. To call a function, please respond with JSON for a function "
          "call.";
      text += kAnswerFormat + listed(*tools);
    }
    if (!messages.empty() && role_of(messages[0]) == "system") text += stripped(message_at(next++).text());
    text += "<|eot_id|>";
    if (tools_in_user) {
      if (next == messages.size())
        throw DataError(str("[", place, "] expected a user message to put the tools into, got none"));
      text += header("user") +
              "Given the following functions, please respond with a JSON for a function call with its proper arguments "
              "that "
              "best answers the given prompt.\n\n" +
              kAnswerFormat + listed(*tools) + stripped(message_at(next++).text()) + "<|eot_id|>";
    }
    for (; next < messages.size(); ++next) append_message(messages[next], str(place, ", message ", next + 1), text);
    if (add_generation_prompt) text += header("assistant");
    return text;
  }

 private:
  static void check_argument(const std::string& key, const json& value, const std::string& place) {
    const bool known = key == "messages" || value.is_null() || (key == "tools" && value.is_array()) ||
                       (key == "date_string" && value.is_string()) ||
                       (key == "tools_in_user_message" && value.is_boolean());
    if (known) return;
    throw DataError(str("[", place,
                        "] expected messages, a list tools, a string date_string or tools_in_user_message true "
                        "or false, got ",
                        key, " ", value.dump().substr(0, 40)));
  }

  static std::string role_of(const json& message) {
    const json* role = message.is_object() ? find(message, "role") : nullptr;
    return role != nullptr && role->is_string() ? role->get<std::string>() : "";
  }

  static std::string listed(const json& tools) {
    std::string text;
    for (const json& tool : tools) text += python_json_text(tool, 4) + "\n\n";
    return text;
  }

  static void append_message(const json& message, const std::string& place, std::string& text) {
    const std::string role = role_of(message);
    if (const json* calls = message.is_object() ? find(message, "tool_calls") : nullptr) {
      text += header("assistant") + tool_call(*calls, place) + "<|eot_id|>";
    } else if ((role == "tool" || role == "ipython") && message.contains("content")) {
      text += header("ipython") + python_json_text(message["content"]) + "<|eot_id|>";
    } else {
      const ChatMessage read = chat_message_of(message, place);
      text += header(read.role) + stripped(read.text()) + "<|eot_id|>";
    }
  }

  static std::string tool_call(const json& calls, const std::string& place) {
    const json* function =
        calls.is_array() && calls.size() == 1 && calls[0].is_object() ? find(calls[0], "function") : nullptr;
    const json* name = function != nullptr && function->is_object() ? find(*function, "name") : nullptr;
    if (name == nullptr || !name->is_string() || !function->contains("arguments")) {
      throw DataError(str("[", place, "] expected one tool call {\"function\": {\"name\", \"arguments\"}}, got ",
                          calls.dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 80)));
    }
    return "{\"name\": \"" + name->get<std::string>() +
           "\", \"parameters\": " + python_json_text((*function)["arguments"]) + "}";
  }
};

}  // namespace

std::unique_ptr<ChatTemplate> llama3_template() {
  return std::make_unique<Llama3Template>();
}

}  // namespace millrace
