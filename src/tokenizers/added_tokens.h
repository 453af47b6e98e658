// Tokens that are matched literally in the text before any other processing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

struct AddedToken {
  std::string content;
  int32_t id = 0;
};

// Finds the leftmost, longest token.
class AddedTokens {
 public:
  struct Match {
    size_t begin;  // text.size() when there is no match
    size_t length;
    int32_t id;
  };

  void add(const std::string& content, int32_t id);
  Match find(std::string_view text, size_t from) const;
  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  std::vector<AddedToken> tokens_;  // longest first
  std::array<bool, 256> starts_{};  // first bytes of all tokens
  bool one_start_ = true;           // all tokens start with the same byte, so that memchr can find it
  char start_ = 0;
};

// Calls on_text(piece) for the text between tokens and on_token(id) for tokens, in order.
template <typename OnText, typename OnToken>
void split_at_tokens(const AddedTokens& tokens, std::string_view text, OnText on_text, OnToken on_token) {
  size_t at = 0;
  while (at < text.size()) {
    const AddedTokens::Match match = tokens.find(text, at);
    if (match.begin > at) on_text(text.substr(at, match.begin - at));
    if (match.begin == text.size()) return;
    on_token(match.id);
    at = match.begin + match.length;
  }
}

}  // namespace millrace
