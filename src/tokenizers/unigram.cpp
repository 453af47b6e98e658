#include "tokenizers/unigram.h"

#include <algorithm>

#include "tokenizers/unicode.h"

namespace millrace {

void Unigram::add(std::string_view piece, double score) {
  lowest_score_ = scores_.empty() ? score : std::min(lowest_score_, score);
  if (!piece.empty()) trie_.add(piece, static_cast<int32_t>(scores_.size()));
  scores_.push_back(score);
}

void Unigram::append_ids(std::string_view text, std::vector<int32_t>& ids) const {
  constexpr double kUnknownPenalty = 10.0;
  struct Node {  // the best path that ends at this byte
    double score = 0;
    int32_t begin = -1;
    int32_t id = -1;
  };
  thread_local std::vector<Node> best;
  best.assign(text.size() + 1, Node{});
  const double unknown_score = lowest_score_ - kUnknownPenalty;
  for (size_t at = 0; at < text.size();) {
    const double score_here = best[at].score;
    const size_t length = unicode::decode(text, at).length;
    const auto offer = [&](size_t end, double score, int32_t id) {
      Node& node = best[end];
      // The first of equals stays.
      if (node.begin < 0 || score_here + score > node.score) node = {score_here + score, static_cast<int32_t>(at), id};
    };
    bool whole_character = false;
    uint32_t node = ByteTrie::kRoot;
    for (size_t end = at; end < text.size();) {
      node = trie_.step(node, static_cast<unsigned char>(text[end]));
      if (node == ByteTrie::kNone) break;
      ++end;
      const int32_t id = trie_.value(node);
      if (id < 0) continue;
      offer(end, scores_[static_cast<size_t>(id)], id);
      whole_character = whole_character || end - at == length;
    }
    if (!whole_character) offer(at + length, unknown_score, unk_id_);
    at += length;
  }
  const auto first = static_cast<ptrdiff_t>(ids.size());
  int32_t last = -1;
  for (auto end = static_cast<int32_t>(text.size()); end > 0; end = best[static_cast<size_t>(end)].begin) {
    const int32_t id = best[static_cast<size_t>(end)].id;
    if (id != unk_id_ || last != unk_id_) ids.push_back(id);
    last = id;
  }
  std::reverse(ids.begin() + first, ids.end());
}

}  // namespace millrace
