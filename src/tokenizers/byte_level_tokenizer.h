// Byte-level BPE as in GPT-2, Llama 3, Qwen2, SmolLM2 and Mistral-Nemo: text is cut into words by regular expressions,
// and the bytes of each word are merged. Or, as in Llama 2 and Mistral 7B, its characters, of which some become bytes.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "tokenizers/added_tokens.h"
#include "tokenizers/byte_level_vocabulary.h"
#include "tokenizers/byte_pair_encoding.h"
#include "tokenizers/token_table.h"
#include "tokenizers/tokenizer.h"
#include "tokenizers/word_cache.h"

namespace millrace {

class ByteLevelTokenizer : public Tokenizer {
 public:
  explicit ByteLevelTokenizer(ByteLevelVocabulary vocabulary);

  // Ids of text alone. Throw DataError when it is not valid UTF-8.
  std::vector<int32_t> encode_plain(std::string_view text) const;  // "<|eot_id|>" is text like any other
  // "<|eot_id|>" is a token. begins: the byte of text at which each id begins, which normalization may move by a few.
  std::vector<int32_t> encode_with_tokens(std::string_view text, std::vector<size_t>* begins = nullptr) const;
  void append_plain(std::string_view text, std::vector<int32_t>& ids) const;

  // Id of an added token by its spelling.
  std::optional<int32_t> added_token(std::string_view content) const;
  // The bytes that an id stands for, special tokens as they are spelled; "" outside the vocabulary.
  std::string_view bytes_of(int32_t id) const;

  std::string decode(std::span<const int32_t> ids) const override;
  std::string decode_behind(std::span<const int32_t> ids) const override;
  int64_t vocabulary_size() const override { return vocabulary_size_; }
  const char* name() const override { return "byte-level BPE"; }

 protected:
  void append_ids(std::string_view text, std::vector<int32_t>& ids) const override;

 private:
  enum class Tokens { kText, kFound };  // what the spelling of an added token is
  std::string normalized(std::string_view text, bool at_start) const;
  bool adds_blank(std::string_view text, bool at_start) const;
  void append_piece(std::string_view text, bool at_start, Tokens tokens, std::vector<int32_t>& ids) const;
  void append_text(std::string_view text, bool at_start, std::vector<int32_t>& ids) const;
  void append_spaced(std::string_view text, bool at_start, std::vector<int32_t>& ids) const;
  void append_chunk(std::string_view text, size_t split, std::vector<int32_t>& ids) const;
  void append_word(std::string_view word, std::vector<int32_t>& ids) const;
  void append_new_word(std::string_view word, std::vector<int32_t>& ids) const;

  TokenTable tokens_;
  BytePairEncoding merges_;
  std::vector<ByteLevelVocabulary::Split> splits_;
  std::optional<CharacterRules> characters_;
  AddedTokens added_, normalized_added_;  // matched in text, and in normalized text
  std::unordered_map<std::string, int32_t> added_ids_;
  std::unordered_map<int32_t, std::string> bytes_by_id_;  // of added tokens, and of bytes among characters
  std::vector<int32_t> special_ids_;                      // sorted
  std::array<int32_t, 256> byte_ids_{};
  bool whole_words_first_, whole_texts_first_, nfc_, finds_added_tokens_, cuts_long_text_;
  bool merges_across_blanks_ = false;  // of characters: some merge has a blank behind another character
  int64_t vocabulary_size_ = 0;
  WordCache cache_;
};

}  // namespace millrace
