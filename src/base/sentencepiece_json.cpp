#include "base/sentencepiece_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>
#include <vector>

namespace millrace {
namespace {

using nlohmann::json;

struct ScoredMerge {
  std::string_view left, right;
  double score;
};

// SentencePiece joins the two neighbours whose joint piece has the best score. As merges in order: every way to cut a
// piece into two others, by the piece's score.
std::vector<ScoredMerge> merges_by_score(std::span<const ScoredPiece> pieces) {
  std::unordered_set<std::string_view> known;
  for (const ScoredPiece& piece : pieces) known.insert(piece.text);
  std::vector<ScoredMerge> merges;
  for (const ScoredPiece& piece : pieces) {
    for (size_t cut = 1; cut < piece.text.size(); ++cut) {
      if ((static_cast<unsigned char>(piece.text[cut]) & 0xC0) == 0x80) continue;  // inside a character
      const std::string_view left = piece.text.substr(0, cut), right = piece.text.substr(cut);
      if (known.contains(left) && known.contains(right)) merges.push_back({left, right, piece.score});
    }
  }
  std::stable_sort(merges.begin(), merges.end(),
                   [](const ScoredMerge& a, const ScoredMerge& b) { return a.score > b.score; });
  return merges;
}

}  // namespace

json sentencepiece_tokenizer_json(json vocabulary, json added_tokens, std::span<const ScoredPiece> pieces,
                                  bool adds_dummy_prefix) {
  json merges = json::array();
  for (const ScoredMerge& merge : merges_by_score(pieces)) merges.push_back({merge.left, merge.right});
  json normalizers = json::array(), decoders = json::array();
  if (adds_dummy_prefix) normalizers.push_back({{"type", "Prepend"}, {"prepend", kBlankMark}});
  normalizers.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kBlankMark}});
  decoders.push_back({{"type", "Replace"}, {"pattern", {{"String", kBlankMark}}}, {"content", " "}});
  decoders.push_back({{"type", "ByteFallback"}});
  decoders.push_back({{"type", "Fuse"}});
  if (adds_dummy_prefix) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  json model = {{"type", "BPE"}, {"byte_fallback", true}};
  model["vocab"] = std::move(vocabulary);
  model["merges"] = std::move(merges);
  json file = {{"version", "1.0"}, {"pre_tokenizer", nullptr}, {"post_processor", nullptr}};
  file["added_tokens"] = std::move(added_tokens);
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", std::move(normalizers)}};
  file["decoder"] = {{"type", "Sequence"}, {"decoders", std::move(decoders)}};
  file["model"] = std::move(model);
  return file;
}

}  // namespace millrace
