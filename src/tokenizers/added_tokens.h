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
  bool strips_left = false, strips_right = false;  // takes the white space on that side of it along
};

// Finds the leftmost, longest token.
class AddedTokens {
 public:
  struct Match {
    size_t begin;  // text.size() when there is no match
    size_t length;
    const AddedToken* token;  // nullptr when there is no match
  };

  void add(const std::string& content, int32_t id) { add({content, id}); }
  void add(const AddedToken& token);
  Match find(std::string_view text, size_t from) const;
  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  std::vector<AddedToken> tokens_;  // longest first
  std::array<bool, 256> starts_{};  // first bytes of all tokens
  bool one_start_ = true;           // all tokens start with the same byte, so that memchr can find it
  char start_ = 0;
};

// Where the white space that ends at `end` begins, and where that which begins at `begin` ends.
size_t space_before(std::string_view text, size_t end);
size_t space_behind(std::string_view text, size_t begin);

// Calls on_text(piece) for the text between tokens and on_token(id) for tokens, in order.
template <typename OnText, typename OnToken>
void split_at_tokens(const AddedTokens& tokens, std::string_view text, OnText on_text, OnToken on_token) {
  size_t at = 0;  // of what no token has taken yet
  for (size_t from = 0; from < text.size();) {
    const AddedTokens::Match match = tokens.find(text, from);
    if (match.token == nullptr) break;
    from = match.begin + match.length;
    const size_t begin = match.token->strips_left ? space_before(text, match.begin) : match.begin;
    if (begin > at) on_text(text.substr(at, begin - at));
    on_token(match.token->id);
    at = match.token->strips_right ? space_behind(text, from) : from;
  }
  if (at < text.size()) on_text(text.substr(at));
}

}  // namespace millrace
