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
  size_t size() const { return size_; }

  // Merges symbols in place. O(n^2) for short words, O(n log n) for long ones.
  void apply(std::vector<int32_t>& symbols) const;

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Target {
    uint32_t rank = kNone;  // kNone: the pair does not merge
    int32_t joined = 0;
  };
  struct Merge {
    int32_t left = -1, right = -1;  // -1: an empty slot
    Target target;
  };

  Target find(int32_t left, int32_t right) const;
  Merge& slot_of(int32_t left, int32_t right);
  void rehash(size_t slots);
  void apply_short(std::vector<int32_t>& symbols) const;
  void apply_long(std::vector<int32_t>& symbols) const;

  // Every word begins with pairs of bytes, whose ids are below 256 in most vocabularies: a table without a search.
  static constexpr int32_t kBytes = 256;
  std::vector<Target> of_bytes_ = std::vector<Target>(kBytes * kBytes);  // [left][right]
  std::vector<Merge> slots_;                                             // all pairs, by open addressing
  // A bit for the hash of each pair. Most pairs that are looked up merge into nothing, which the bits, a small part of
  // the slots' memory, nearly always say.
  static constexpr size_t kBits = size_t{1} << 22;
  std::vector<uint64_t> bits_ = std::vector<uint64_t>(kBits / 64);
  size_t size_ = 0;
  uint32_t next_rank_ = 0;
};

}  // namespace millrace
