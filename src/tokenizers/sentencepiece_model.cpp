// The two kinds of vocabulary that SentencePiece's files hold: T5's unigram model, and the BPE models of Llama 2 and
// Mistral 7B.
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/sentencepiece_json.h"
#include "base/text.h"
#include "tokenizers/byte_level_vocabulary.h"
#include "tokenizers/sentencepiece_file.h"
#include "tokenizers/t5_vocabulary.h"
#include "tokenizers/vocabulary_files.h"

namespace millrace {
namespace {

constexpr int kExtraIds = 100;

}  // namespace

T5Vocabulary unigram_vocabulary(SentencePieceFile file, const std::filesystem::path& path) {
  if (file.model_type != SentencePieceFile::kUnigram) {
    fail_vocabulary(path, 0, "expected a unigram model, got another kind (BPE, word or char)");
  }
  T5Vocabulary vocabulary;
  vocabulary.path = path;
  vocabulary.character_map = std::move(file.character_map);
  for (SentencePieceFile::Piece& piece : file.pieces) {
    const auto id = static_cast<int32_t>(vocabulary.pieces.size());
    if (piece.type == SentencePieceFile::kUnknown || piece.type == SentencePieceFile::kControl ||
        piece.type == SentencePieceFile::kUserDefined) {
      vocabulary.added_tokens.push_back({piece.text, id, piece.type != SentencePieceFile::kUserDefined});
    }
    vocabulary.pieces.push_back({std::move(piece.text), piece.score});
  }
  for (int i = kExtraIds - 1; i >= 0; --i) {
    const std::string sentinel = str("<extra_id_", i, ">");
    vocabulary.added_tokens.push_back({sentinel, static_cast<int32_t>(vocabulary.pieces.size()), true});
    vocabulary.pieces.push_back({sentinel, 0.0});
  }
  return vocabulary;
}

ByteLevelVocabulary bpe_vocabulary(const SentencePieceFile& file, const std::filesystem::path& path) {
  using nlohmann::json;
  if (!file.character_map.empty() || file.removes_extra_whitespaces || !file.escapes_whitespaces) {
    fail_vocabulary(
        path, 0,
        "expected a BPE model that takes text as it is, as Llama 2's and Mistral's, got one that normalizes "
        "it (try the model's tokenizer.json)");
  }
  json vocabulary = json::object(), added = json::array();
  std::vector<ScoredPiece> ordinary;
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    const SentencePieceFile::Piece& piece = file.pieces[id];
    if (piece.type == SentencePieceFile::kUserDefined) {
      fail_vocabulary(
          path, 0,
          str("expected no pieces that users defined, got \"", piece.text, "\" (try the model's tokenizer.json)"));
    }
    if (!is_valid_utf8(piece.text)) fail_vocabulary(path, 0, str("expected pieces in UTF-8, got other bytes at ", id));
    if (!vocabulary.emplace(piece.text, id).second) {
      fail_vocabulary(path, 0, str("expected each piece once, got \"", piece.text, "\" twice"));
    }
    if (piece.type == SentencePieceFile::kControl || piece.type == SentencePieceFile::kUnknown) {
      added.push_back({{"id", id}, {"content", piece.text}, {"special", true}});
    } else if (piece.type == SentencePieceFile::kNormal) {
      ordinary.push_back({piece.text, piece.score});
    }
  }
  const bool has_begin = vocabulary.contains("<s>"), has_end = vocabulary.contains("</s>");
  const json as_json =
      sentencepiece_tokenizer_json(std::move(vocabulary), std::move(added), ordinary, file.adds_dummy_prefix);
  ByteLevelVocabulary result = read_byte_level_json(as_json, path);
  CharacterRules& rules = *result.characters;
  if (rules.prefix == CharacterRules::Prefix::kEverywhere) rules.prefix = CharacterRules::Prefix::kFirst;
  result.finds_added_tokens = false;
  if (result.bos.empty() && has_begin) result.bos = "<s>";
  if (result.eos.empty() && has_end) result.eos = "</s>";
  return result;
}

}  // namespace millrace
