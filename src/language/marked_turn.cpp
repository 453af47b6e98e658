#include "language/marked_turn.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "tokenizers/unicode.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;

// Characters for private use, U+10FFFB to U+10FFFD: templates neither trim nor escape them.
constexpr std::string_view kOther = "\xF4\x8F\xBF\xBB", kBegin = "\xF4\x8F\xBF\xBC", kEnd = "\xF4\x8F\xBF\xBD";

// The first <tag> of text; empty and at its end: none.
std::string_view first_tag(std::string_view text) {
  for (size_t at = text.find('<'); at != std::string_view::npos; at = text.find('<', at + 1)) {
    const size_t end = text.find_first_of("<> \n", at + 1);
    if (end != std::string_view::npos && text[end] == '>') return text.substr(at, end + 1 - at);
  }
  return text.substr(text.size());
}

std::string mark_around(std::string_view text, std::string_view before, std::string_view after) {
  const std::string_view core = unicode::python_strip(text);
  if (core.empty()) return std::string(text);
  const auto lead = static_cast<size_t>(core.data() - text.data());
  return str(text.substr(0, lead), before, core, after, text.substr(lead + core.size()));
}

std::string mark_between_tags(std::string_view text, std::string_view before, std::string_view after) {
  std::string marked;
  while (!text.empty()) {
    const std::string_view tag = first_tag(text);
    const auto length = static_cast<size_t>(tag.data() - text.data());
    marked += mark_around(text.substr(0, length), before, after);
    marked += tag;
    text.remove_prefix(length + tag.size());
  }
  return marked;
}

// Marks stand close around the text between tags, since templates trim messages, look for tags at their ends and split
// them at </think>. An answer of nothing but tags has marks around it.
std::string mark_text(std::string_view text, std::string_view before, std::string_view after) {
  constexpr std::string_view kThoughtsEnd = "</think>";
  const size_t thoughts = text.rfind(kThoughtsEnd);
  const std::string_view answer = text.substr(thoughts == text.npos ? 0 : thoughts + kThoughtsEnd.size());
  std::string marked = mark_between_tags(answer, before, after);
  if (marked == answer) marked = mark_around(answer, before, after);
  return mark_between_tags(text.substr(0, text.size() - answer.size()), before, after) + marked;
}

bool mark(Json& holder, const char* key, std::string_view before, std::string_view after) {
  if (!holder.is_object() || !holder.contains(key)) return false;
  Json& value = holder[key];
  if (value.is_string()) {
    std::string marked = mark_text(value.get_ref<const std::string&>(), before, after);
    const bool has_marks = marked.size() > value.get_ref<const std::string&>().size();
    value = std::move(marked);
    return has_marks;
  }
  bool has_marks = false;
  if (value.is_array()) {
    for (Json& part : value) {
      for (const char* name : {"text", "content", "thinking"}) has_marks |= mark(part, name, before, after);
    }
  }
  return has_marks;
}

// What an assistant thinks, says or, where it says nothing, calls.
void mark_turn(Json& message) {
  for (const char* key : {"reasoning_content", "thinking", "reasoning"}) mark(message, key, kBegin, kEnd);
  if (mark(message, "content", kBegin, kEnd) || !message.contains("tool_calls")) return;
  if (!message["tool_calls"].is_array()) return;
  for (Json& call : message["tool_calls"]) {
    mark(call.is_object() && call.contains("function") ? call["function"] : call, "name", kBegin, kEnd);
  }
}

// A rendering without its marks, and where in it they stood.
struct Located {
  std::string text;
  std::vector<size_t> others, begins, ends;  // others: behind what other messages say
};

// The messages but that of `index` get the same mark, so that templates find those alike that are.
Located locate(const ChatTemplate& chat_template, Json arguments, size_t index, bool add_generation_prompt,
               const std::string& place) {
  Json& messages = arguments["messages"];
  for (size_t i = 0; i < messages.size(); ++i) {
    if (i == index) {
      mark_turn(messages[i]);
    } else {
      mark(messages[i], "content", "", kOther);
    }
  }
  const std::string marked = chat_template.render(arguments, add_generation_prompt, place);
  Located located;
  for (size_t at = 0; at < marked.size();) {
    const std::string_view next = std::string_view(marked).substr(at, kOther.size());
    if (next == kOther || next == kBegin || next == kEnd) {
      (next == kOther ? located.others : next == kBegin ? located.begins : located.ends).push_back(located.text.size());
      at += next.size();
    } else {
      located.text += marked[at++];
    }
  }
  return located;
}

size_t shared_length(std::string_view a, std::string_view b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

// Where the last special token of text ends; 0: it has none.
size_t last_token_end(const ByteLevelTokenizer& tokenizer, std::string_view text) {
  size_t at = 0, end = 0;
  for (const int32_t id : tokenizer.encode_with_tokens(text)) {
    const std::string_view bytes = tokenizer.bytes_of(id);
    at += bytes.size();
    if (tokenizer.added_token(bytes) == id) end = std::min(at, text.size());
  }
  return end;
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \n") == std::string_view::npos;
}

// How much of `before`, the text between a message and the turn, is still the header that asks for an answer. Of a
// header that opens thoughts which the turn has not, it is its lines or special tokens. nullopt: it has none of them.
std::optional<size_t> header_length(const ByteLevelTokenizer& tokenizer, std::string_view header,
                                    std::string_view before) {
  const size_t length = shared_length(header, before);
  if (length == header.size() || length == before.size()) return length;
  const std::string_view shared = header.substr(0, length);
  const size_t line = shared.rfind('\n');
  const size_t whole = std::max(last_token_end(tokenizer, shared), line == std::string_view::npos ? 0 : line + 1);
  return whole > 0 ? std::optional(whole) : std::nullopt;
}

// How much of what follows the turn is its end: as when it is the last, or up to the last special token that it has
// then, too. nullopt: nothing that is not blank.
std::optional<size_t> end_length(const ByteLevelTokenizer& tokenizer, std::string_view end, std::string_view behind) {
  size_t length = shared_length(end, behind);
  if (length < end.size()) length = last_token_end(tokenizer, end.substr(0, length));
  return is_blank(end) || !is_blank(end.substr(0, length)) ? std::optional(length) : std::nullopt;
}

}  // namespace

Json first_messages(const Json& arguments, size_t count) {
  Json cut = arguments;
  Json& messages = cut["messages"];
  messages.erase(messages.begin() + static_cast<ptrdiff_t>(count), messages.end());
  return cut;
}

std::pair<size_t, size_t> marked_turn(const ChatTemplate& chat_template, const ByteLevelTokenizer& tokenizer,
                                      const Json& arguments, size_t index, const std::string& whole,
                                      const std::string& place) {
  const auto fail = [&](const char* got) {
    throw DataError(str("[", place, "] expected a chat template that shows where message ", index + 1, " of ",
                        arguments.at("messages").size(), " begins and ends, got ", got,
                        " (try conversations of one answer)"));
  };
  const auto located = [&](const Json& conversation, bool ask) {
    Located found = locate(chat_template, conversation, index, ask, place);
    if (found.text != chat_template.render(conversation, ask, place)) {
      fail("one that writes something else once the messages are marked");
    }
    return found;
  };
  const Located all = located(arguments, false), asked = located(first_messages(arguments, index), true),
                alone = located(first_messages(arguments, index + 1), false);
  if (all.begins.empty() || all.ends.empty() || alone.ends.empty()) fail("none of its text");
  const std::string_view text = whole;

  const auto next = std::upper_bound(all.others.begin(), all.others.end(), all.begins.front());
  const size_t from = next == all.others.begin() ? 0 : *std::prev(next);
  const auto header =
      header_length(tokenizer, std::string_view(asked.text).substr(asked.others.empty() ? 0 : asked.others.back()),
                    text.substr(from, all.begins.front() - from));
  if (!header) fail("another header in front of it than an answer is asked for with");

  const size_t behind = all.ends.back();
  if (next != all.others.end() && *next < behind) fail("its text around another message");
  const auto end = end_length(tokenizer, std::string_view(alone.text).substr(alone.ends.back()), text.substr(behind));
  if (!end) fail("no end of the turn that it has as the last one, too");
  return {from + *header, behind + *end};
}

}  // namespace millrace
