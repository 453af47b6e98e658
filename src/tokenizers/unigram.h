// The most probable segmentation under a unigram model (Kudo, "Subword Regularization", ACL 2018), by Viterbi.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizers/byte_trie.h"

namespace millrace {

class Unigram {
 public:
  explicit Unigram(int32_t unk_id) : unk_id_(unk_id) {}
  // Ids are assigned in order from 0. Of pieces with the same spelling, the later id wins.
  void add(std::string_view piece, double score);

  // Appends the ids of valid UTF-8. A character that no piece covers costs 10 more than the worst piece; a run of them
  // is one unknown token.
  void append_ids(std::string_view text, std::vector<int32_t>& ids) const;

 private:
  int32_t unk_id_;
  ByteTrie trie_;
  std::vector<double> scores_;  // by id
  double lowest_score_ = 0;
};

}  // namespace millrace
