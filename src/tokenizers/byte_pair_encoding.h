// Byte-pair encoding (Sennrich et al., 2016): merge the neighbours of lowest rank, leftmost first, until none merge.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace millrace {

class BytePairEncoding {
 public:
  // Token ids left and right merge into `joined`; earlier merges have lower ranks and are done first. A pair added
  // twice keeps its later rank, as in Hugging Face's tokenizers.
  void add_merge(int32_t left, int32_t right, int32_t joined);
  // The same with a rank of the caller's. Merges of one rank are done leftmost first.
  void add_ranked_merge(int32_t left, int32_t right, int32_t joined, uint32_t rank);
  void reserve(size_t merges);
  size_t size() const { return merges_.size(); }

  // Merges symbols in place. O(n^2) for short words, O(n log n) for long ones.
  void apply(std::vector<int32_t>& symbols) const;

 private:
  struct Merge {
    int32_t left, right;
    uint32_t rank;
    int32_t joined;
  };

  const Merge* find(int32_t left, int32_t right) const;
  void rehash(size_t slots);
  void apply_short(std::vector<int32_t>& symbols) const;
  void apply_long(std::vector<int32_t>& symbols) const;

  std::vector<Merge> merges_;
  std::vector<uint32_t> slots_;  // open addressing: index into merges_ + 1, 0 is empty
  uint32_t next_rank_ = 0;
};

}  // namespace millrace
