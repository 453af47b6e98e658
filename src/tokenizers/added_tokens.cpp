#include "tokenizers/added_tokens.h"

#include <algorithm>
#include <cstring>

namespace millrace {

void AddedTokens::add(const std::string& content, int32_t id) {
  if (content.empty()) return;
  const auto same =
      std::find_if(tokens_.begin(), tokens_.end(), [&](const AddedToken& t) { return t.content == content; });
  if (same != tokens_.end()) {
    same->id = id;
    return;
  }
  one_start_ = tokens_.empty() || (one_start_ && content[0] == start_);
  start_ = content[0];
  starts_[static_cast<unsigned char>(content[0])] = true;
  const auto shorter = std::find_if(tokens_.begin(), tokens_.end(),
                                    [&](const AddedToken& t) { return t.content.size() < content.size(); });
  tokens_.insert(shorter, {content, id});
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
      if (text.substr(i, token.content.size()) == token.content) return {i, token.content.size(), token.id};
    }
  }
  return {text.size(), 0, -1};
}

}  // namespace millrace
