// The regular expressions by which byte-level tokenizers cut text into words, and the matcher for them.
//
// Understood is what the expressions of GPT-2, Llama 3, Qwen2, SmolLM2 and Mistral's Tekken are made of: alternatives
// of sequences of characters, classes (\s \p{L} \p{Lu} \p{Ll} \p{Lt} \p{Lm} \p{Lo} \p{M} \p{N}, their opposites \S
// \P{..},
// [..] [^..]) with ? * + {n} {n,m}, groups (?:..) and (?i:..) behind parts of fixed length, and the look-ahead (?!x).
// Matching is leftmost-first with backtracking, as in Perl. Classes are those of unicode.h, so that characters of every
// Unicode version fall as in the tokenizers library.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizers/unicode.h"

namespace millrace {

// A set of code points: a table by byte for ASCII (no other byte is in it), categories (bit 1 << Category) and single
// code points beyond.
struct CodePointSet {
  std::array<bool, 256> ascii{};
  uint16_t categories = 0;
  bool negated_beyond = false;  // [^..] of single code points: all of `others` are out, else in
  std::vector<uint32_t> others;

  bool contains(uint32_t code_point) const;
};

class SplitPattern {
 public:
  // Throws ModelError naming place, the expression and the byte in it for what it does not know.
  SplitPattern(std::string_view expression, const std::string& place);

  // Length of the match that begins at `at`, 0: none does. Text is valid UTF-8, at < text.size().
  size_t match(std::string_view text, size_t at) const;

  struct Item {
    CodePointSet set;
    uint32_t min = 1, max = 1;
    bool look_ahead = false;  // (?!set): nothing is consumed
  };
  using Sequence = std::vector<Item>;

 private:
  bool match_from(const Sequence& items, size_t i, std::string_view text, size_t at, size_t& end) const;
  void index_first_bytes();

  std::vector<Sequence> alternatives_;
  std::array<uint64_t, 256> may_start_{};  // bit k: alternative k can begin with this byte
};

// Calls on_piece for the matches and for what lies between them, in order; between_too: false leaves the latter out.
template <typename OnPiece>
void split_by(const SplitPattern& pattern, std::string_view text, bool between_too, OnPiece on_piece) {
  size_t begin = 0;  // of what no match has taken yet
  for (size_t at = 0; at < text.size();) {
    const size_t length = pattern.match(text, at);
    if (length == 0) {
      at += unicode::decode(text, at).length;
      continue;
    }
    if (between_too && at > begin) on_piece(text.substr(begin, at - begin));
    on_piece(text.substr(at, length));
    begin = at += length;
  }
  if (between_too && begin < text.size()) on_piece(text.substr(begin));
}

}  // namespace millrace
