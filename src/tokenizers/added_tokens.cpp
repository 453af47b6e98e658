#include "tokenizers/added_tokens.h"

#include <algorithm>
#include <cstring>

#include "tokenizers/unicode.h"

namespace millrace {

void AddedTokens::add(const AddedToken& token) {
  const std::string& content = token.content;
  if (content.empty()) return;
  const auto same =
      std::find_if(tokens_.begin(), tokens_.end(), [&](const AddedToken& t) { return t.content == content; });
  if (same != tokens_.end()) {
    *same = token;
    return;
  }
  one_start_ = tokens_.empty() || (one_start_ && content[0] == start_);
  start_ = content[0];
  starts_[static_cast<unsigned char>(content[0])] = true;
  const auto shorter = std::find_if(tokens_.begin(), tokens_.end(),
                                    [&](const AddedToken& t) { return t.content.size() < content.size(); });
  tokens_.insert(shorter, token);
}

AddedTokens::Match AddedTokens::find(std::string_view text, size_t from) const {
  for (size_t i = from; i < text.size() && !tokens_.empty(); ++i) {
    if (one_start_) {
      const void* found = std::memchr(text.data() + i, start_, text.size() - i);
      if (found == nullptr) break;
      i = static_cast<size_t>(static_cast<const char*>(found) - text.data());
    } else if (!starts_[static_cast<unsigned char>(text[i])]) {
      continue;
    }
    for (const AddedToken& token : tokens_) {
      if (text.substr(i, token.content.size()) == token.content) return {i, token.content.size(), &token};
    }
  }
  return {text.size(), 0, nullptr};
}

size_t space_before(std::string_view text, size_t end) {
  while (end > 0) {
    size_t last = end - 1;
    while (last > 0 && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
    if (unicode::category(unicode::decode(text, last).value) != unicode::Category::kSpace) break;
    end = last;
  }
  return end;
}

size_t space_behind(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    const unicode::CodePoint c = unicode::decode(text, begin);
    if (unicode::category(c.value) != unicode::Category::kSpace) break;
    begin += c.length;
  }
  return begin;
}

}  // namespace millrace
