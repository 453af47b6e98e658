#include "language/template_spans.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "language/marked_turn.h"

namespace millrace {
namespace {

bool is_assistant(const nlohmann::ordered_json& message) {
  return message.is_object() && message.contains("role") && message["role"] == "assistant";
}

// The length of the longest end of `text` that `whole` begins with at `at` (Knuth, Morris and Pratt).
size_t shared_end(std::string_view text, std::string_view whole, size_t at) {
  const std::string_view pattern = whole.substr(at, text.size());
  std::vector<size_t> borders(pattern.size() + 1, 0);
  const auto longer = [&](size_t length, char next) {
    while (length > 0 && (length == pattern.size() || pattern[length] != next)) length = borders[length];
    return length < pattern.size() && pattern[length] == next ? length + 1 : 0;
  };
  for (size_t i = 1; i < pattern.size(); ++i) borders[i + 1] = longer(borders[i], pattern[i]);
  size_t length = 0;
  for (const char next : text) length = longer(length, next);
  return length;
}

// Where the turn of message i begins: behind the header that asks for it. A template may open the thoughts of an answer
// there and leave them out of earlier turns, as Qwen3's do: then behind the lines of the header that `whole` has, too.
// nullopt: it has none of them.
std::optional<size_t> turn_begin(const std::string& whole, const ChatTemplate& chat_template,
                                 const nlohmann::ordered_json& earlier, const std::string& place) {
  const std::string asked = chat_template.render(earlier, true, place);
  if (starts_with(whole, asked)) return asked.size();
  const size_t header = chat_template.render(earlier, false, place).size();
  const auto shared =
      static_cast<size_t>(std::mismatch(asked.begin(), asked.end(), whole.begin(), whole.end()).first - asked.begin());
  const size_t line = asked.substr(0, shared).rfind('\n');
  if (line == std::string::npos || line < header) return std::nullopt;
  return line + 1;
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \n") == std::string_view::npos;
}

using Span = std::pair<size_t, size_t>;

// The turn of message i by what the template makes of the conversation up to it. nullopt: of earlier messages or of the
// turn it makes something else once others follow.
std::optional<Span> turn_of_beginnings(const std::string& whole, const ChatTemplate& chat_template,
                                       const nlohmann::ordered_json& arguments, size_t i, const std::string& place) {
  const std::optional<size_t> own = turn_begin(whole, chat_template, first_messages(arguments, i), place);
  if (!own) return std::nullopt;
  const size_t begin = *own;
  // The turn as the last one; the whole text may have left out what it begins with.
  const std::string alone = i + 1 == arguments.at("messages").size()
                                ? whole
                                : chat_template.render(first_messages(arguments, i + 1), false, place);
  if (alone.compare(0, begin, whole, 0, begin) != 0) return std::nullopt;
  const std::string_view turn = std::string_view(alone).substr(begin);
  const std::string_view kept = turn.substr(turn.size() - shared_end(turn, whole, begin));
  if (is_blank(kept) && kept != turn) return std::nullopt;
  return Span(begin, begin + kept.size());
}

}  // namespace

RenderedChat render_with_spans(const ChatTemplate& chat_template, const ByteLevelTokenizer& tokenizer,
                               const nlohmann::ordered_json& arguments, const std::string& place) {
  if (auto marked = chat_template.render_marked(arguments, place)) return *marked;
  RenderedChat chat{chat_template.render(arguments, false, place), {}};
  const auto& messages = arguments.at("messages");
  for (size_t i = 0; i < messages.size(); ++i) {
    if (!is_assistant(messages[i])) continue;
    const std::optional<Span> own = turn_of_beginnings(chat.text, chat_template, arguments, i, place);
    auto [begin, end] = own ? *own : marked_turn(chat_template, tokenizer, arguments, i, chat.text, place);
    while (end > begin && chat.text[end - 1] == '\n') --end;
    chat.assistant.emplace_back(begin, end);
  }
  return chat;
}

}  // namespace millrace
