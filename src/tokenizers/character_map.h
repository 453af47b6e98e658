// SentencePiece's precompiled character map: a double-array trie of strings and what they become (nmt_nfkc for T5).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

class CharacterMap {
 public:
  CharacterMap();
  // blob: a little-endian size, that many bytes of trie, then the replacements, each ended by a zero byte.
  // Throws ModelError when the blob is damaged; `place` goes into the message.
  CharacterMap(std::string_view blob, const std::string& place);

  // Grapheme by grapheme as Hugging Face's tokenizers does it, which is not always what SentencePiece does: a grapheme
  // below 6 bytes is replaced as a whole by what its shortest known prefix becomes, a longer one code point by code
  // point.
  std::string apply(std::string_view text) const;

 private:
  // The replacement of the shortest prefix of text that has one. False: there is none.
  bool replacement(std::string_view text, std::string_view* out) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
  std::array<bool, 128> ascii_stays_{};
};

}  // namespace millrace
