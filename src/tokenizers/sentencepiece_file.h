// The fields of sentencepiece_model.proto (google/sentencepiece) that make up a vocabulary, read straight from the wire
// format: no protobuf library, no trust in lengths.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace millrace {

struct SentencePieceFile {
  enum PieceType : uint64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  enum ModelType : uint64_t { kUnigram = 1, kBpe = 2 };
  struct Piece {
    std::string text;
    double score = 0;
    uint64_t type = kNormal;
  };
  std::vector<Piece> pieces;  // by id
  uint64_t model_type = kUnigram;
  // What is done to text before it is cut into pieces.
  std::string character_map;  // precompiled; "": text is not normalized
  bool adds_dummy_prefix = true, removes_extra_whitespaces = true, escapes_whitespaces = true;
};

// Throws ModelError naming the file where it is missing, too long or damaged.
SentencePieceFile read_sentencepiece_file(const std::filesystem::path& path);

}  // namespace millrace
