// The two kinds of vocabulary that SentencePiece's files hold: T5's unigram model, and the BPE models of Llama 2 and
// Mistral 7B.
#include <algorithm>
#include <string_view>
#include <unordered_set>

#include "base/log.h"
#include "base/text.h"
#include "tokenizers/byte_level_vocabulary.h"
#include "tokenizers/sentencepiece_file.h"
#include "tokenizers/t5_vocabulary.h"
#include "tokenizers/vocabulary_files.h"

namespace millrace {
namespace {

constexpr int kExtraIds = 100;

struct Merge {
  std::string left, right;
  double score;
};

// SentencePiece joins the two neighbours whose joint piece has the best score. As merges in order: every way to cut a
// piece into two others, by the piece's score.
std::vector<Merge> merges_of(const SentencePieceFile& file) {
  std::unordered_set<std::string_view> known;
  for (const SentencePieceFile::Piece& piece : file.pieces) {
    if (piece.type == SentencePieceFile::kNormal) known.insert(piece.text);
  }
  std::vector<Merge> merges;
  for (const SentencePieceFile::Piece& piece : file.pieces) {
    if (piece.type != SentencePieceFile::kNormal) continue;
    for (size_t cut = 1; cut < piece.text.size(); ++cut) {
      if ((static_cast<unsigned char>(piece.text[cut]) & 0xC0) == 0x80) continue;  // inside a character
      const std::string_view left = std::string_view(piece.text).substr(0, cut);
      const std::string_view right = std::string_view(piece.text).substr(cut);
      if (!known.contains(left) || !known.contains(right)) continue;
      merges.push_back({std::string(left), std::string(right), piece.score});
    }
  }
  std::stable_sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) { return a.score > b.score; });
  return merges;
}

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
  json vocabulary = json::object(), merges = json::array(), added = json::array();
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
    }
  }
  for (const Merge& merge : merges_of(file)) merges.push_back({merge.left, merge.right});
  json normalizers = {{{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kBlankMark}}};
  const json prepend = {{"type", "Prepend"}, {"prepend", kBlankMark}};
  if (file.adds_dummy_prefix) normalizers.insert(normalizers.begin(), prepend);
  json decoders = {{{"type", "Replace"}, {"pattern", {{"String", kBlankMark}}}, {"content", " "}},
                   {{"type", "ByteFallback"}},
                   {{"type", "Fuse"}}};
  if (file.adds_dummy_prefix) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  // What transformers makes of such a file.
  const json as_json = {
      {"model", {{"type", "BPE"}, {"byte_fallback", true}, {"vocab", vocabulary}, {"merges", merges}}},
      {"normalizer", {{"type", "Sequence"}, {"normalizers", normalizers}}},
      {"pre_tokenizer", nullptr},
      {"decoder", {{"type", "Sequence"}, {"decoders", decoders}}},
      {"added_tokens", added}};
  ByteLevelVocabulary result = read_byte_level_json(as_json, path);
  CharacterRules& rules = *result.characters;
  if (rules.prefix == CharacterRules::Prefix::kEverywhere) rules.prefix = CharacterRules::Prefix::kFirst;
  result.finds_added_tokens = false;
  if (result.bos.empty() && vocabulary.contains("<s>")) result.bos = "<s>";
  if (result.eos.empty() && vocabulary.contains("</s>")) result.eos = "</s>";
  return result;
}

}  // namespace millrace
