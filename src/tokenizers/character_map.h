// SentencePiece's precompiled character map: a double-array trie of strings and their replacements (nmt_nfkc for T5).
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
  // blob: a little-endian size, that many bytes of trie, then the replacements, each terminated by a zero byte.
  // Throws ModelError naming `place` when the blob is damaged.
  CharacterMap(std::string_view blob, const std::string& place);

  // Grapheme by grapheme as in Hugging Face's tokenizers, which sometimes differs from SentencePiece: a grapheme below
  // 6 bytes is replaced as a whole by the replacement of its shortest known prefix, a longer one code point by code
  // point.
  std::string apply(std::string_view text) const;

 private:
  // The replacement of the shortest prefix of text that has one. False: no prefix has one.
  bool replacement(std::string_view text, std::string_view* out) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
  std::array<bool, 128> ascii_stays_{};
};

}  // namespace millrace
