// CLIP's tokenizer (Radford et al., 2021): lower case, words, byte-level BPE with an end-of-word mark.
#pragma once

#include <array>

#include "tokenizers/added_tokens.h"
#include "tokenizers/byte_pair_encoding.h"
#include "tokenizers/clip_vocabulary.h"
#include "tokenizers/tokenizer.h"
#include "tokenizers/word_cache.h"

namespace millrace {

class ClipTokenizer : public Tokenizer {
 public:
  // Throws ModelError when a merge names a token that the vocabulary lacks, or a special token is missing.
  explicit ClipTokenizer(const ClipVocabulary& vocabulary);

  std::string decode(std::span<const int32_t> ids) const override;
  int64_t vocabulary_size() const override { return static_cast<int64_t>(tokens_.size()); }
  const char* name() const override { return "CLIP"; }

 protected:
  void append_ids(std::string_view text, std::vector<int32_t>& ids) const override;

 private:
  void append_words(std::string_view normalized, std::vector<int32_t>& ids, std::vector<int32_t>& scratch) const;
  void append_word(std::string_view word, std::vector<int32_t>& ids, std::vector<int32_t>& scratch) const;

  std::vector<std::string> tokens_;  // by id
  std::array<int32_t, 256> byte_ids_;
  std::array<int32_t, 256> last_byte_ids_;  // of bytes that end a word
  BytePairEncoding merges_;
  AddedTokens raw_tokens_;         // matched in the raw text
  AddedTokens normalized_tokens_;  // matched after normalization
  WordCache cache_;
};

// Splits normalized text like CLIP's regular expression:
//   <\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+
// Returns the length of the word at `at`; 0 for white space, of which `skip` bytes are to be skipped.
size_t clip_word_length(std::string_view text, size_t at, size_t* skip);

}  // namespace millrace
