// T5's tokenizer: SentencePiece's unigram model (Kudo, 2018) as in Hugging Face transformers.
#pragma once

#include <unordered_set>

#include "tokenizers/added_tokens.h"
#include "tokenizers/character_map.h"
#include "tokenizers/t5_vocabulary.h"
#include "tokenizers/tokenizer.h"
#include "tokenizers/unigram.h"
#include "tokenizers/word_cache.h"

namespace millrace {

class T5Tokenizer : public Tokenizer {
 public:
  // Throws ModelError unless <pad>, </s> and <unk> are ids 0, 1 and 2.
  explicit T5Tokenizer(const T5Vocabulary& vocabulary);

  std::string decode(std::span<const int32_t> ids) const override;
  int64_t vocabulary_size() const override { return static_cast<int64_t>(tokens_.size()); }
  const char* name() const override { return "T5"; }

 protected:
  void append_ids(std::string_view text, std::vector<int32_t>& ids) const override;

 private:
  void append_words(std::string_view normalized, std::vector<int32_t>& ids) const;
  void append_marked(std::string_view marked, std::vector<int32_t>& ids) const;
  void append_word(std::string_view word, std::vector<int32_t>& ids) const;

  std::vector<std::string> tokens_;  // by id
  std::unordered_set<int32_t> special_ids_;
  AddedTokens added_tokens_;
  CharacterMap character_map_;
  bool splits_at_whitespace_;
  Unigram unigram_;
  WordCache cache_;
};

}  // namespace millrace
