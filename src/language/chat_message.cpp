#include "language/chat_message.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

const std::vector<std::string>& roles() {
  static const std::vector<std::string> names = {"system", "user", "assistant", "ipython", "tool"};
  return names;
}

[[noreturn]] void fail(std::string_view place, const std::string& expected, const std::string& got) {
  throw DataError(str("[", place, "] expected ", expected, ", got ", got));
}

std::string shortened(const nlohmann::ordered_json& value) {
  const std::string text = value.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace);
  return text.size() <= 80 ? text : text.substr(0, 77) + "...";
}

void add_part(ChatMessage& message, const nlohmann::ordered_json& text, std::string_view place) {
  message.parts.push_back(text.get<std::string>());
  if (!is_valid_utf8(message.parts.back())) fail(place, "text in UTF-8", "half of a surrogate pair or other bytes");
}

bool flag(const nlohmann::ordered_json& message, const char* key, bool otherwise, std::string_view place) {
  const auto found = message.find(key);
  if (found == message.end() || found->is_null()) return otherwise;
  if (!found->is_boolean()) fail(place, str("\"", key, "\" to be true or false"), shortened(*found));
  return found->get<bool>();
}

void read_part(ChatMessage& message, const nlohmann::ordered_json& part, std::string_view place) {
  const auto type = part.is_object() ? part.find("type") : part.end();
  if (!part.is_object() || type == part.end() || *type != "text") {
    fail(place, "text parts {\"type\": \"text\", \"text\": \"...\"} (pictures are not read)", shortened(part));
  }
  for (const char* key : {"text", "content"}) {
    const auto text = part.find(key);
    if (text != part.end() && text->is_string()) return add_part(message, *text, place);
  }
  fail(place, "a text part with \"text\"", shortened(part));
}

}  // namespace

std::string ChatMessage::text() const {
  std::string all;
  for (const std::string& part : parts) all += part;
  return all;
}

void check_role(std::string_view role, std::string_view place) {
  if (std::find(roles().begin(), roles().end(), role) != roles().end()) return;
  const std::string near = nearest(role, roles());
  throw DataError(str("[", place, "] expected a role of ", join(roles(), ", "), ", got \"", role, "\"",
                      near.empty() ? "" : str(" (try ", near, ")")));
}

ChatMessage chat_message_of(const nlohmann::ordered_json& json, std::string_view place, const char* template_option) {
  if (!json.is_object()) fail(place, "messages {\"role\": \"...\", \"content\": \"...\"}", shortened(json));
  const auto role = json.find("role"), content = json.find("content");
  if (role == json.end() || !role->is_string()) fail(place, "a message with \"role\"", shortened(json));
  ChatMessage message;
  message.role = role->get<std::string>();
  check_role(message.role, place);
  const auto calls = json.find("tool_calls");
  if (calls != json.end() && !calls->is_null() && !calls->empty()) {
    fail(place, "a message of text alone",
         str("one with tool_calls (try ", template_option, ": templates write them out)"));
  }
  if (content == json.end()) fail(place, "a message with \"content\"", shortened(json));
  if (content->is_string()) {
    add_part(message, *content, place);
  } else if (content->is_array()) {
    for (const auto& part : *content) read_part(message, part, place);
  } else {
    fail(place, "\"content\" to be a string or a list of text parts", shortened(*content));
  }
  message.ipython = flag(json, "ipython", false, place);
  message.eot = flag(json, "eot", true, place);
  return message;
}

}  // namespace millrace
