// Reads the two file formats of T5's vocabulary.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "tokenizers/sentencepiece_file.h"

namespace millrace {

struct T5Vocabulary {
  std::filesystem::path path;  // for messages
  struct Piece {
    std::string text;
    double score = 0;  // log probability
  };
  std::vector<Piece> pieces;  // by id
  std::string character_map;  // precompiled; "" when text is not normalized
  // At all of it, however much there is, into words; else only a blank begins a word, every one of them.
  bool splits_at_whitespace = true;
  struct Token {
    std::string content;
    int32_t id = 0;
    bool special = true;  // left out of decoded text
  };
  std::vector<Token> added_tokens;  // matched literally in the text
};

// spiece.model: SentencePiece's protocol buffer of a unigram model. T5's 100 sentinels, <extra_id_99> ... <extra_id_0>,
// follow its last piece.
T5Vocabulary unigram_vocabulary(SentencePieceFile file, const std::filesystem::path& path);
// What the tokenizer.json at path holds, with a Unigram model.
T5Vocabulary read_t5_tokenizer_json(const nlohmann::json& file, const std::filesystem::path& path);

}  // namespace millrace
