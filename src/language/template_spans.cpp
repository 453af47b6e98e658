#include "language/template_spans.h"

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

nlohmann::ordered_json first_messages(const nlohmann::ordered_json& arguments, size_t count) {
  nlohmann::ordered_json cut = arguments;
  auto& messages = cut["messages"];
  messages.erase(messages.begin() + static_cast<ptrdiff_t>(count), messages.end());
  return cut;
}

bool is_assistant(const nlohmann::ordered_json& message) {
  return message.is_object() && message.contains("role") && message["role"] == "assistant";
}

}  // namespace

RenderedChat render_with_spans(const ChatTemplate& chat_template, const nlohmann::ordered_json& arguments,
                               const std::string& place) {
  if (auto marked = chat_template.render_marked(arguments, place)) return *marked;
  RenderedChat chat{chat_template.render(arguments, false, place), {}};
  const auto& messages = arguments.at("messages");
  for (size_t i = 0; i < messages.size(); ++i) {
    if (!is_assistant(messages[i])) continue;
    const std::string before = chat_template.render(first_messages(arguments, i), true, place);
    const std::string with =
        i + 1 == messages.size() ? chat.text : chat_template.render(first_messages(arguments, i + 1), false, place);
    if (!starts_with(chat.text, before) || !starts_with(chat.text, with) || with.size() < before.size()) {
      throw DataError(str("[", place,
                          "] expected a template that writes a turn alike whatever follows, got another text of "
                          "message ",
                          i + 1, " of ", messages.size(), " (try conversations of one answer)"));
    }
    size_t end = with.size();
    while (end > before.size() && with[end - 1] == '\n') --end;
    chat.assistant.emplace_back(before.size(), end);
  }
  return chat;
}

}  // namespace millrace
