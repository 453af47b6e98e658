#include "prepare/emoji/emoji_list.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "base/text_lines.h"
#include "prepare/emoji/utf8.h"

namespace millrace {
namespace {

constexpr char32_t kVariationSelector16 = 0xFE0F;  // "as a picture"; does not affect which emoji it is

std::optional<char32_t> parse_code_point(std::string_view text) {
  if (text.starts_with("U+") || text.starts_with("u+")) {
    uint32_t code = 0;
    const auto [end, error] = std::from_chars(text.data() + 2, text.data() + text.size(), code, 16);
    if (error != std::errc() || end != text.data() + text.size() || code > 0x10FFFF) return std::nullopt;
    return code;
  }
  std::u32string code_points = decode_utf8(text);
  std::erase(code_points, kVariationSelector16);
  if (code_points.size() != 1 || code_points[0] < 0x80) return std::nullopt;
  return code_points[0];
}

bool is_component(char32_t code) {
  return (code >= 0x1F3FB && code <= 0x1F3FF) || (code >= 0x1F9B0 && code <= 0x1F9B3);
}

std::set<std::string> words_of(std::string_view text) {
  std::set<std::string> words;
  std::string word;
  for (const char c : to_lower(text) + " ") {
    const bool separator = c == ' ' || c == '-' || c == ',' || c == ':';
    if (!separator) {
      word += c;
    } else if (!word.empty()) {
      words.insert(std::exchange(word, ""));
    }
  }
  return words;
}

}  // namespace

std::vector<EmojiEntry> parse_emoji_list(std::string_view text, const std::map<char32_t, std::string>& names,
                                         const std::string& place) {
  std::vector<EmojiEntry> entries;
  std::set<char32_t> seen;
  for (const TextLine& entry : parse_text_lines(text, place, {.comments = true})) {
    const std::string_view line = entry.text;
    const std::string here = "[" + place + ":" + std::to_string(entry.number) + "] ";
    const size_t space = std::min(line.find_first_of(" \t"), line.size());
    const std::optional<char32_t> code = parse_code_point(line.substr(0, space));
    if (!code) {
      throw DataError(here + "expected an emoji of one code point or U+XXXX, got \"" +
                      std::string(line.substr(0, space)) + "\"");
    }
    if (!seen.insert(*code).second)
      throw DataError(here + "expected each emoji once, got " + encode_utf8(*code) + " again");
    std::string caption(trim(line.substr(space)));
    if (caption.empty()) {
      const auto name = names.find(*code);
      if (name == names.end())
        throw DataError(here + "expected an emoji with a name, got none (try a caption after it)");
      caption = name->second;
    }
    entries.push_back({*code, caption});
  }
  return entries;
}

std::vector<EmojiEntry> all_emoji(const std::map<char32_t, std::string>& names) {
  std::vector<EmojiEntry> entries = parse_emoji_list(kWellKnownEmoji, names, "the well-known emoji");
  std::set<char32_t> taken;
  for (const EmojiEntry& entry : entries) taken.insert(entry.code_point);
  for (const auto& [code, name] : names) {
    if (!taken.contains(code) && !is_component(code)) entries.push_back({code, name});
  }
  return entries;
}

std::vector<EmojiEntry> filter_emoji(const std::vector<EmojiEntry>& entries, std::string_view words) {
  const std::set<std::string> wanted = words_of(words);
  std::vector<EmojiEntry> kept;
  std::copy_if(entries.begin(), entries.end(), std::back_inserter(kept), [&](const EmojiEntry& entry) {
    const std::set<std::string> has = words_of(entry.caption);
    return std::any_of(wanted.begin(), wanted.end(), [&](const std::string& word) { return has.contains(word); });
  });
  return kept;
}

}  // namespace millrace
