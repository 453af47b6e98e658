// The emoji to use, and their captions.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

struct EmojiEntry {
  char32_t code_point;
  std::string caption;
};

// The content of configs/quickstart_emoji.txt.
extern const char* const kWellKnownEmoji;

// Lines of an emoji (or U+XXXX) and, if wanted, a caption instead of its name; # starts a comment line.
// Throws DataError naming place and line.
std::vector<EmojiEntry> parse_emoji_list(std::string_view text, const std::map<char32_t, std::string>& names,
                                         const std::string& place);

// All of names, the well-known ones first, then by code point. Skin tones and hair, which are components, are left out.
std::vector<EmojiEntry> all_emoji(const std::map<char32_t, std::string>& names);

// The emoji with one of the comma-separated words in their caption (whole words, any case).
std::vector<EmojiEntry> filter_emoji(const std::vector<EmojiEntry>& entries, std::string_view words);

}  // namespace millrace
